"""Recipes: every number of a simulated data set, with where it comes from.

Marks, as used throughout the documentation: *code* was read in the original
authors' code, *fit* was recovered by fitting lens models to published original
images, *2nd* was transcribed from the papers by others, *inferred* is neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["RECIPES", "Recipe", "get_recipe", "model_f", "model_j"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """A simulated data set; a pair of numbers is the range of a uniform draw.

    Derive your own with `dataclasses.replace(model_f, name="mine", sky=50.0)`.

    Attributes:
        name: What the set is called in files and messages.
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        sky: Sky brightness, kept in the image. *Unit*: counts/pixel. (fit)
        axis_ratio: Minor over major axis of the source. (fit)
        stored: How `lensequiv simulate` writes images: `"counts"` as they are,
            `"minmax"` each scaled to [0, 1]. (fit)
        classes: Class names, in the order of their labels.
        pixels: Side of the square image. *Unit*: pixels.
        pixel_scale: *Unit*: arcsec/pixel.
        supersampling: Rays per pixel and axis.
        hubble: Hubble constant of the flat LambdaCDM. *Unit*: km/s/Mpc. (code)
        omega_matter: Matter density, dimensionless. (code)
        total_mass: Halo and substructure together. *Unit*: solar masses. (code)
        shear: Strength of the external shear, dimensionless. (code, fit)
        shear_angle: Direction of the shear. The original code drew it from
            [0, 2 pi] but used it as degrees, so every ring is stretched along x.
            *Unit*: degrees. (code, fit)
        source_radius: Distance of the source from the axis, direction uniform.
            *Unit*: arcsec. (fit)
        sersic_index: Of the source's light, dimensionless. (fit)
        effective_radius: Of the source's light. *Unit*: arcsec. (fit)
        source_angle: Direction of the source's major axis, drawn like
            `shear_angle`. *Unit*: degrees. (fit)
        amplitude: Source's surface brightness at the effective radius.
            *Unit*: counts/pixel. (fit)
        psf_sigma: Of the Gaussian point-spread function. *Unit*: arcsec. (fit)
        psf_size: Side of its kernel. *Unit*: pixels. (fit)
        subhalo_number: Poisson mean of the number of subhalos. (code, fit)
        subhalo_mass: Range of their masses. *Unit*: solar masses. (code)
        subhalo_slope: dN/dm goes as m to this power: -0.9 in the original code and
            images, although the texts say -1.9. (code, fit)
        subhalo_radius: Distance from the centre (uniform in the radius, not in
            area). *Unit*: arcsec. (code, fit)
        vortex_points: Equal point masses that make the vortex.
        vortex_sigma: Normal spread of its centre, per axis. *Unit*: arcsec. (2nd)
        vortex_length: *Unit*: arcsec. (2nd, fit)
        vortex_fraction: Its share of the total mass, dimensionless. (2nd, fit)
    """

    name: str
    z_lens: Range
    z_source: Range
    sky: float
    axis_ratio: Range
    stored: str = "counts"
    classes: tuple[str, ...] = ("no", "sphere", "vort")
    pixels: int = 150
    pixel_scale: float = 0.05
    supersampling: int = 2
    hubble: float = 70.0
    omega_matter: float = 0.3
    total_mass: float = 1e12
    shear: Range = (0.0, 0.3)
    shear_angle: Range = (0.0, 2 * math.pi)
    source_radius: Range = (0.0, 0.5)
    sersic_index: float = 1.5
    effective_radius: float = 0.5
    source_angle: Range = (0.0, 2 * math.pi)
    amplitude: float = 104.5
    psf_sigma: float = 0.086
    psf_size: int = 11
    subhalo_number: float = 25.0
    subhalo_mass: Range = (1e6, 1e10)
    subhalo_slope: float = -0.9
    subhalo_radius: Range = (0.0, 2.0)
    vortex_points: int = 100
    vortex_sigma: float = 0.5
    vortex_length: Range = (0.5, 2.0)
    vortex_fraction: Range = (0.03, 0.055)

    def __post_init__(self) -> None:
        """Checks what would otherwise surface far from its cause.

        Raises:
            ValueError: Unknown class or `stored`, an even `psf_size`, or a size that
                is not positive.
        """
        if not self.classes or set(self.classes) - {"no", "sphere", "vort"}:
            raise ValueError(
                f"classes={self.classes!r}: expected some of 'no', 'sphere', 'vort'"
            )
        if self.stored not in ("counts", "minmax"):
            raise ValueError(f"stored={self.stored!r}: expected 'counts' or 'minmax'")
        if self.psf_size < 1 or self.psf_size % 2 == 0:
            raise ValueError(f"psf_size={self.psf_size}: expected an odd number")
        for name in ("pixels", "pixel_scale", "supersampling", "vortex_points"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"{name}={getattr(self, name)}: expected a positive number"
                )


model_f = Recipe(
    name="modelF",
    z_lens=(0.5, 0.5),  # code
    z_source=(1.0, 1.0),  # code
    sky=30.0,
    axis_ratio=(1.0, 1.0),
)
"""Model F of the 2021 study (Model A of arXiv:2008.12731), re-simulated."""

model_j = Recipe(
    name="modelJ",
    z_lens=(0.4, 0.6),  # 2nd, fit
    z_source=(0.8, 1.2),  # 2nd, fit
    sky=10.0,
    axis_ratio=(0.4, 1.0),
    stored="minmax",
)
"""Model J of the 2021 study (Model B of arXiv:2008.12731), re-simulated."""

RECIPES = {recipe.name: recipe for recipe in (model_f, model_j)}


def get_recipe(recipe: str | Recipe) -> Recipe:
    """Returns a recipe by name, or the recipe itself.

    Raises:
        ValueError: No recipe has this name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise ValueError(
            f"unknown recipe {recipe!r}; known are {', '.join(RECIPES)}, "
            "or pass a lensequiv.simulation.Recipe"
        )
    return RECIPES[recipe]
