"""Recipes: every number of a simulated data set, with where it comes from.

Marks, as used throughout the documentation: *code* was read in the original
authors' code, *fit* was recovered by fitting lens models to published original
images, *2nd* was transcribed from the papers by others, *inferred* is neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lensequiv._suggestions import did_you_mean
from lensequiv.simulation.noise import CoaddNoise, Noise, PoissonSky, ThreefoldNoise
from lensequiv.simulation.substructure import (
    NoSubstructure,
    Range,
    Subhalos,
    Substructure,
    Vortex,
)

__all__ = [
    "RECIPES",
    "Recipe",
    "get_recipe",
    "model_1",
    "model_2",
    "model_3",
    "model_f",
    "model_j",
]


def _classes_of_2021() -> Mapping[str, Substructure]:
    return {"no": NoSubstructure(), "sphere": Subhalos(), "vort": Vortex()}


@dataclass(frozen=True)
class Recipe:
    """A simulated data set; a pair of numbers is the range of a uniform draw.

    Derive your own with `dataclasses.replace`::

        replace(model_f, name="mine", noise=PoissonSky(50.0))
        replace(model_f, name="steep", substructure=dict(
            model_f.substructure, sphere=Subhalos(slope=-1.9)))

    Attributes:
        name: What the set is called in files and messages.
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        noise: Sky and noise.
        axis_ratio: Minor over major axis of the source. (fit)
        stored: How `lensequiv simulate` writes images: `"counts"` as they are,
            `"minmax"` each scaled to [0, 1]. (fit)
        substructure: What each class holds, by class name, in the order of labels.
        pixels: Side of the square image. *Unit*: pixels.
        pixel_scale: *Unit*: arcsec/pixel.
        supersampling: Rays per pixel and axis.
        hubble: Hubble constant of the flat LambdaCDM. *Unit*: km/s/Mpc. (code)
        omega_matter: Matter density, dimensionless. (code)
        total_mass: Of the halo, and of the substructure if `shared_mass`. *Unit*:
            solar masses. (code)
        shared_mass: Whether the substructure's mass is taken from the halo. (code)
        halo_axis_ratio: Of the isothermal halo; 1 is the sphere.
        halo_angle: Direction of its major axis. *Unit*: degrees.
        shear: Strength of the external shear, dimensionless. (code, fit)
        shear_angle: Direction of the shear. The original code drew it from
            [0, 2 pi] but used it as degrees, so every ring is stretched along x.
            *Unit*: degrees. (code, fit)
        source_radius: Distance of the source from the axis, direction uniform.
            *Unit*: arcsec. (fit)
        source_square: If given, the range of the source's x and of its y instead.
            *Unit*: arcsec.
        sersic_index: Of the source's light, dimensionless. (fit)
        effective_radius: Of the source's light. *Unit*: arcsec. (fit)
        source_angle: Direction of the source's major axis, drawn like
            `shear_angle`. *Unit*: degrees. (fit)
        amplitude: Source's surface brightness at the effective radius, for an
            exposure of 1. *Unit*: counts/pixel. (fit)
        exposure: What multiplies the light, uniform in its logarithm. *Unit*: s, or
            1 where `amplitude` is in counts already.
        psf_sigma: Of the Gaussian point-spread function. *Unit*: arcsec. (fit)
        psf_size: Side of its kernel. *Unit*: pixels. (fit)
    """

    name: str
    z_lens: Range
    z_source: Range
    noise: Noise
    axis_ratio: Range
    stored: str = "counts"
    substructure: Mapping[str, Substructure] = field(default_factory=_classes_of_2021)
    pixels: int = 150
    pixel_scale: float = 0.05
    supersampling: int = 2
    hubble: float = 70.0
    omega_matter: float = 0.3
    total_mass: float = 1e12
    shared_mass: bool = True
    halo_axis_ratio: float = 1.0
    halo_angle: float = 0.0
    shear: Range = (0.0, 0.3)
    shear_angle: Range = (0.0, 2 * math.pi)
    source_radius: Range = (0.0, 0.5)
    source_square: Range | None = None
    sersic_index: float = 1.5
    effective_radius: float = 0.5
    source_angle: Range = (0.0, 2 * math.pi)
    amplitude: float = 104.5
    exposure: Range = (1.0, 1.0)
    psf_sigma: float = 0.086
    psf_size: int = 11

    def __post_init__(self) -> None:
        """Checks what would otherwise surface far from its cause.

        Raises:
            ValueError: No class, an unknown `stored`, an even `psf_size`, or a size
                or ratio out of range.
        """
        object.__setattr__(self, "substructure", dict(self.substructure))
        if not self.substructure:
            raise ValueError("substructure is empty: expected at least one class")
        for name in self.substructure:
            if not name or name.startswith(".") or "/" in name or "\\" in name:
                raise ValueError(
                    f"class {name!r} cannot name a folder: expected letters and digits"
                )
        if self.stored not in ("counts", "minmax"):
            raise ValueError(f"stored={self.stored!r}: expected 'counts' or 'minmax'")
        if self.psf_size < 1 or self.psf_size % 2 == 0:
            raise ValueError(f"psf_size={self.psf_size}: expected an odd number")
        if not 0 < self.halo_axis_ratio <= 1:
            raise ValueError(
                f"halo_axis_ratio={self.halo_axis_ratio}: expected above 0, at most 1"
            )
        for name in ("pixels", "pixel_scale", "supersampling", "psf_sigma"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"{name}={getattr(self, name)}: expected a positive number"
                )
        if not 0 < self.exposure[0] <= self.exposure[1]:
            raise ValueError(f"exposure={self.exposure}: expected 0 < low <= high")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of their labels."""
        return tuple(self.substructure)

    def describe(self) -> dict[str, Any]:
        """All numbers as plain types for JSON, components with their type's name."""
        described = asdict(self)
        for key, component in self.substructure.items():
            described["substructure"][key]["type"] = type(component).__name__
        described["noise"]["type"] = type(self.noise).__name__
        return described


model_f = Recipe(
    name="modelF",
    z_lens=(0.5, 0.5),  # code
    z_source=(1.0, 1.0),  # code
    noise=PoissonSky(30.0),  # fit
    axis_ratio=(1.0, 1.0),  # fit
)
"""Model F of the 2021 study (Model A of arXiv:2008.12731), re-simulated."""

model_j = Recipe(
    name="modelJ",
    z_lens=(0.4, 0.6),  # 2nd, fit
    z_source=(0.8, 1.2),  # 2nd, fit
    noise=PoissonSky(10.0),  # fit
    axis_ratio=(0.4, 1.0),  # fit
    stored="minmax",
)
"""Model J of the 2021 study (Model B of arXiv:2008.12731), re-simulated."""


def sersic_amplitude(
    magnitude: float, zero_point: float, index: float, radius: float, scale: float
) -> float:
    """Surface brightness at the effective radius of a Sersic profile.

    The total light is 2 pi n R^2 e^b b^(-2n) Gamma(2n) times that brightness (Graham
    & Driver 2005, eq. 4), with lenstronomy's b_n = 1.9992 n - 0.3271.

    Args:
        magnitude: Of all the light.
        zero_point: Magnitude of 1 count per second.
        index: Sersic index n.
        radius: Effective radius R. *Unit*: arcsec.
        scale: *Unit*: arcsec/pixel.

    Returns:
        *Unit*: counts/pixel/s.
    """
    b = 1.9992 * index - 0.3271
    shape = index * math.exp(b) * math.pow(b, -2 * index) * math.gamma(2 * index)
    light = math.pow(10, 0.4 * (zero_point - magnitude))
    return light / (2 * math.pi * radius**2 * shape) * scale**2


# Their ellipticity e1 = 0.1 as an axis ratio, and e1 = -0.1, e2 = 0.1 as a ratio and
# a direction: q = (1 - e) / (1 + e), 2 phi = atan2(e2, e1). (code)
_HALO_Q = (1 - 0.1) / (1 + 0.1)
_SOURCE_Q = (1 - math.hypot(0.1, 0.1)) / (1 + math.hypot(0.1, 0.1))
_SOURCE_ANGLE = math.degrees(math.atan2(0.1, -0.1)) / 2
_FWHM = math.sqrt(8 * math.log(2))

# A vortex of axions of mass m reaches 0.03e-22 eV / m arcsec to both sides, and
# log10(m / eV) is uniform from -24 to -22. (code)
_AXION_LENGTH = (0.06, 6.0)

_deeplensesim: dict[str, Any] = {
    "z_lens": (0.5, 0.5),  # code
    "z_source": (1.0, 1.0),  # code
    "axis_ratio": (_SOURCE_Q, _SOURCE_Q),  # code
    "source_angle": (_SOURCE_ANGLE, _SOURCE_ANGLE),  # code
    "substructure": {
        "no": NoSubstructure(),
        # Their code draws a Poisson number and then does not use it. (code)
        "sphere": Subhalos(25, poisson=False, radius=(0.25, 2.0)),
        "vort": Vortex(
            sigma=0.0, length=_AXION_LENGTH, log_length=True, fraction=(0.03, 0.03)
        ),
    },
    "supersampling": 1,  # code
    "shared_mass": False,  # code: the halo keeps its mass
    "halo_axis_ratio": _HALO_Q,  # code
    "shear": (0.05, 0.05),  # code
    "shear_angle": (0.0, 0.0),  # code
    "source_square": (-0.35, 0.35),  # code
    "sersic_index": 1.0,  # code
    "effective_radius": 0.25,  # code
}

model_1 = Recipe(
    name="deeplensesim1",
    noise=ThreefoldNoise(1e-2),  # code
    # 20 per square arcsec and second (code; the area: inferred, since 20 per pixel
    # would have a hundred times the SNR of 25 that its authors state).
    amplitude=20 * 0.05**2,
    exposure=(10**3.0, 10**3.5),  # code
    psf_sigma=0.087 / _FWHM,  # code
    psf_size=5,  # code: cut at 3 sigma
    **_deeplensesim,
)
"""Model I of DeepLenseSim: 150 x 150 pixels in counts.

All lenses stand upright: halo, shear and the source's ellipse have one direction.
"""

model_2 = Recipe(
    name="deeplensesim2",
    # lenstronomy's Euclid VIS of 2021, before its zero point changed. (inferred)
    noise=CoaddNoise(565.0, 4, 4.2, 22.35, 24.0, 0.101),
    pixels=64,  # code
    pixel_scale=0.101,
    amplitude=sersic_amplitude(20.0, 24.0, 1.0, 0.25, 0.101),  # code: magnitude 20
    psf_sigma=0.16 / _FWHM,
    psf_size=7,  # lenstronomy's cut at 5 sigma
    **_deeplensesim,
)
"""Model II of DeepLenseSim: Euclid-like, 64 x 64 pixels in electrons per second.

The published code (2022) writes twice the noiseless image; noise is on here.
"""

model_3 = Recipe(
    name="deeplensesim3",
    # lenstronomy's HST WFC3 F160W with a Gaussian PSF. (inferred)
    noise=CoaddNoise(5400.0, 1, 4.0, 22.3, 25.96, 0.08),
    pixels=64,  # code
    pixel_scale=0.08,
    amplitude=sersic_amplitude(20.0, 25.96, 1.0, 0.25, 0.08),  # code: magnitude 20
    psf_sigma=0.08 / _FWHM,
    psf_size=5,  # lenstronomy's cut at 5 sigma
    **_deeplensesim,
)
"""Model III of DeepLenseSim: HST-like, 64 x 64 pixels in electrons per second."""

RECIPES = {r.name: r for r in (model_f, model_j, model_1, model_2, model_3)}


def get_recipe(recipe: str | Recipe) -> Recipe:
    """Returns a recipe by name, or the recipe itself.

    Raises:
        ValueError: No recipe has this name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise ValueError(
            f"unknown recipe {recipe!r}; {did_you_mean(recipe, RECIPES)}known are "
            f"{', '.join(RECIPES)}, or pass a lensequiv.simulation.Recipe"
        )
    return RECIPES[recipe]
