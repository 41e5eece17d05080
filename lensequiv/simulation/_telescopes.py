"""Recipes of lenses as single telescopes see them."""

from __future__ import annotations

from dataclasses import replace

from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation.blur import PSFImages
from lensequiv.simulation.deflectors import PowerLaw
from lensequiv.simulation.galaxies import Galaxies
from lensequiv.simulation.halos import Halos
from lensequiv.simulation.instruments import get_instrument
from lensequiv.simulation.lights import Clumps, LensLight, Neighbours
from lensequiv.simulation.substructure import NoSubstructure, Vortex

__all__ = ["euclid", "hst"]

_ACS = get_instrument("hst-acs-f814w")
_VIS = get_instrument("euclid-vis")

# Cold dark matter: 2 to 7 % of the mass within the Einstein radius in halos above 1e8
# solar masses, the upper part of what Dalal & Kochanek (2002) found: 0.6 to 7 %.
_CDM = Halos(
    fraction=(0.02, 0.07),
    mass=(1e8, 3e10),
    slope=-1.9,
    truncation=(3.0, 20.0),
    radius=(0.0, 2.0),
    area=True,
    poisson=True,
)

hst = Recipe(
    name="hst",
    # Redshifts and Einstein radii of most SLACS lenses (Bolton et al. 2008).
    z_lens=(0.1, 0.4),
    z_source=(0.45, 1.1),
    einstein_radius=(0.8, 1.7),
    distances="angular",
    # Slopes 2.08 +- 0.16 (Auger et al. 2010), boxy and disky to about 1 %.
    deflector=PowerLaw(
        slope=(1.85, 2.3),
        axis_ratio=(0.6, 0.97),
        offset=0.02,
        third=(0.0, 0.01),
        fourth=(0.0, 0.015),
    ),
    shear=(0.0, 0.12),
    shear_angle=(0.0, 180.0),
    # Sources: sizes and magnitudes of Newton et al. 2011, ends rounded.
    source_radius=(0.0, 0.35),
    source_angle=(0.0, 180.0),
    axis_ratio=(0.4, 1.0),
    effective_radius=0.16,
    sersic_index=1.2,
    spread={"effective_radius": (0.45, 2.2), "sersic_index": (0.5, 2.5)},
    lights=(
        LensLight(
            share=1.0,
            magnitude=(16.2, 17.8),
            index=(3.0, 5.5),
            radius=(1.2, 2.6),
            second=0.3,
            axis_ratio_scatter=0.06,
            angle_scatter=6.0,
            subtracted=0.5,
            residual=0.005,
        ),
        Neighbours(
            galaxies=1.5,
            stars=0.1,
            distance=(1.2, 4.0),
            ratio=(0.03, 4.0),
            radius=(0.1, 0.5),
        ),
        Clumps(share=0.3),
        Galaxies(share=0.6),
    ),
    pixel_scale=_ACS.pixel_scale,
    blur=PSFImages(width=(0.95, 1.15)),
    psf_size=21,
    noise=_ACS.camera(
        magnitude=(22.0, 24.4),
        sky_brightness=(21.7, 22.4),
        exposure=(1000.0, 2400.0),
        correlation=(0.2, 0.5),
        gradient=(0.0, 0.2),
        defects=0.2,
    ),
    substructure={
        "no": NoSubstructure(),
        "sphere": _CDM,
        "vort": Vortex(length=(1.0, 4.0), fraction=(0.03, 0.055)),
    },
)
"""Lenses like those of the SLACS survey, seen by Hubble's ACS in F814W."""

euclid = replace(
    hst,
    name="euclid",
    # Lenses that the wide survey finds: farther, of a broader range of radii.
    z_lens=(0.2, 0.9),
    z_source=(1.1, 2.5),
    einstein_radius=(0.5, 2.2),
    source_radius=(0.0, 0.4),
    effective_radius=0.25,
    lights=(
        LensLight(
            share=1.0,
            magnitude=(18.8, 21.2),
            index=(2.5, 5.5),
            radius=(0.4, 1.3),
            second=0.3,
            axis_ratio_scatter=0.06,
            angle_scatter=6.0,
            subtracted=0.5,
            residual=0.005,
        ),
        Neighbours(
            galaxies=4.0,
            stars=0.3,
            distance=(1.3, 6.0),
            ratio=(0.03, 6.0),
            radius=(0.1, 0.6),
        ),
        Clumps(share=0.3),
        Galaxies(share=0.6),
    ),
    pixel_scale=_VIS.pixel_scale,
    blur=_VIS.blur(1.08),
    psf_size=13,
    noise=_VIS.camera(
        magnitude=(22.3, 24.8),
        sky_brightness=(22.0, 22.6),
        exposure=(1698.0, 2264.0),
        correlation=(0.0, 0.2),
        gradient=(0.0, 0.2),
        defects=0.2,
    ),
    substructure={
        **hst.substructure,
        # Euclid's pixels hide what is lighter (O'Riordan et al. 2023: 10^8.8).
        "sphere": replace(_CDM, mass=(5e8, 5e10)),
    },
)
"""Lenses of the kind that Euclid finds, seen by its VIS camera."""
