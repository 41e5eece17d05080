"""Recipes whose numbers differ from lens to lens: the study's, and a wide one."""

from __future__ import annotations

from dataclasses import replace

from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation._study2021 import model_f, model_j
from lensequiv.simulation.blur import Blur
from lensequiv.simulation.deflectors import PowerLaw
from lensequiv.simulation.detector import Detector
from lensequiv.simulation.galaxies import Galaxies
from lensequiv.simulation.lights import Clumps, LensLight, Neighbours
from lensequiv.simulation.substructure import NoSubstructure, Range, Subhalos, Vortex

__all__ = ["model_f_varied", "model_j_varied", "wide"]


def _factor(by: float) -> Range:
    return 1 / by, by


def _varied(recipe: Recipe, length: Range) -> Recipe:
    """A recipe of the study with what its fits left open drawn for each lens."""
    return replace(
        recipe,
        name=f"{recipe.name}-varied",
        version=1,
        spread={
            "psf_sigma": _factor(1.25),
            "pixel_scale": _factor(1.05),
            "sky": _factor(1.5),
            "amplitude": _factor(1.5),
            "effective_radius": _factor(1.3),
            "sersic_index": _factor(1.3),
            "total_mass": _factor(1.1),
        },
        substructure={
            "no": NoSubstructure(),
            "sphere": Subhalos(number=(17.0, 37.0), slope=(-1.0, -0.8)),
            "vort": Vortex(length=length, fraction=(0.025, 0.06)),
        },
    )


model_f_varied = _varied(model_f, (0.5, 2.5))
"""Model F with what is uncertain in its recipe drawn anew for each lens."""

model_j_varied = _varied(model_j, (1.0, 4.0))
"""Model J with what is uncertain in its recipe drawn anew for each lens."""

wide = Recipe(
    name="wide",
    version=2,
    z_lens=(0.2, 0.8),
    z_source=(1.0, 2.5),
    noise=Detector(
        peak_snr=(2.0, 400.0),
        sky_level=(1.0, 3000.0),
        read_noise=(0.0, 8.0),
        correlation=(0.0, 0.4),
        gradient=(0.0, 0.3),
        noiseless=0.06,
        defects=0.1,
        eight_bits=0.3,
    ),
    axis_ratio=(0.3, 1.0),
    substructure={
        "no": NoSubstructure(),
        "sphere": Subhalos(number=(10.0, 40.0), slope=(-1.3, -0.7)),
        "vort": Vortex(length=(0.5, 4.0), fraction=(0.02, 0.065)),
    },
    shear=(0.0, 0.3),
    shear_angle=(0.0, 180.0),
    source_radius=(0.0, 0.5),
    source_angle=(0.0, 180.0),
    effective_radius=0.3,
    sersic_index=1.4,
    total_mass=1e12,
    psf_size=21,
    distances="angular",
    ring=(6.0, 45.0),
    spread={
        "total_mass": (0.6, 1.5),
        "effective_radius": (0.4, 3.0),
        "sersic_index": (0.36, 2.85),
    },
    deflector=PowerLaw(
        slope=(1.7, 2.3),
        axis_ratio=(0.5, 1.0),
        offset=0.05,
        third=(0.0, 0.01),
        fourth=(0.0, 0.02),
    ),
    lights=(
        LensLight(
            share=0.65,
            ratio=(0.1, 1000.0),
            index=(1.5, 6.5),
            radius=(0.2, 3.0),
            residual=0.005,
        ),
        Neighbours(galaxies=0.6, stars=0.3, ratio=(0.02, 30.0)),
        Clumps(share=0.4),
        Galaxies(share=0.35),
    ),
    blur=Blur(fwhm=(1.2, 5.0), moffat=0.4, axis_ratio=(0.85, 1.0)),
)
"""Domain randomisation: lenses of any scale, depth, shape and company.

Rings have radii of 6 to 45 pixels. Lengths are physical and masses true; it is the
pixels whose size differs, by a factor of 6.7, and the point-spread function goes with
the pixels.
"""
