"""Single changes of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lensequiv.simulation import Recipe

__all__ = ["OF_IMAGES", "WITHIN", "perturbations"]

OF_IMAGES = ("shift by 3 pixels", "rotation by 37 degrees")
"""Changes that are made to the images, not to the recipe."""

WITHIN = frozenset(
    (
        *("PSF width x 0.8", "PSF width x 1.25"),
        *("pixel scale x 0.95", "pixel scale x 1.05"),
        *("source radius x 0.77", "source radius x 1.3"),
        *("source index x 0.77", "source index x 1.3"),
        *("sky x 0.67", "sky x 1.5", "brightness x 0.67", "brightness x 1.5"),
        *("ring x 0.95", "ring x 1.05"),
    )
)
"""Changes that `modelF-varied` and `modelJ-varied` make, to the end of their ranges."""


def _scaled(name: str, factor: float) -> Callable[[Recipe], Recipe]:
    """Multiplies one number of a recipe that all its lenses share."""

    def change(recipe: Recipe) -> Recipe:
        low, high = recipe.spread.get(name, (1.0, 1.0))
        spread = {**recipe.spread, name: (low * factor, high * factor)}
        return replace(recipe, spread=spread)

    return change


def _blurred(factor: float) -> Callable[[Recipe], Recipe]:
    """Another width of the point-spread function, its kernel cut at as many sigma."""

    def change(recipe: Recipe) -> Recipe:
        half = math.ceil(recipe.psf_size // 2 * max(factor, 1.0))
        return replace(_scaled("psf_sigma", factor)(recipe), psf_size=2 * half + 1)

    return change


def _noise(factor: float) -> Callable[[Recipe], Recipe]:
    """Photon noise times a factor, relative to the light: another exposure time."""

    def change(recipe: Recipe) -> Recipe:
        recipe = _scaled("amplitude", factor**-2)(recipe)
        return _scaled("sky", factor**-2)(recipe)

    return change


def perturbations(recipe: Recipe) -> dict[str, Recipe]:
    """Single changes of a recipe, by name; the first is none.

    The changes are those that a real telescope or another simulation would bring:
    point-spread function, pixel scale, noise, sky, Einstein radius, source,
    ellipticity, direction of the shear, light of the lens. docs/robustness.md says
    what each stands for.

    Args:
        recipe: One of the study's: Poisson noise on a sky that stays in the image.

    Returns:
        Recipes with the same classes and pixels.

    Raises:
        ValueError: The recipe has another kind of noise.
    """
    from lensequiv.simulation import LensLight, PoissonSky, PowerLaw

    if not isinstance(recipe.noise, PoissonSky):
        raise ValueError(
            f"recipe {recipe.name!r} has {type(recipe.noise).__name__}; expected one "
            "with PoissonSky, such as modelF or modelJ"
        )
    single: dict[str, Callable[[Recipe], Recipe]] = {"none": lambda same: same}
    for factor in (0.75, 0.8, 1.25, 1.5):
        single[f"PSF width x {factor}"] = _blurred(factor)
    for name, key, factors in (
        ("pixel scale", "pixel_scale", (0.9, 0.95, 1.05, 1.1)),
        ("source radius", "effective_radius", (0.7, 0.77, 1.3, 1.4)),
        ("source index", "sersic_index", (0.5, 0.77, 1.3, 2.0)),
        ("sky", "sky", (0.67, 1.5)),
        ("brightness", "amplitude", (0.67, 1.5)),
    ):
        for factor in factors:
            single[f"{name} x {factor}"] = _scaled(key, factor)
    for factor in (0.5, 2.0):
        single[f"noise x {factor}"] = _noise(factor)
    for factor in (0.8, 0.9, 0.95, 1.05, 1.1, 1.2):
        # The Einstein radius goes with the root of the mass.
        single[f"ring x {factor}"] = _scaled("total_mass", factor**2)
    single["halo of axis ratio 0.7"] = lambda recipe: replace(
        recipe, deflector=PowerLaw(axis_ratio=(0.7, 0.7))
    )
    single["shear at any angle"] = lambda recipe: replace(
        recipe, shear_angle=(0.0, 180.0)
    )
    single["lens light"] = lambda recipe: replace(
        recipe, lights=(LensLight(share=1.0, ratio=(0.3, 3.0), subtracted=0.0),)
    )
    single["lens light, subtracted"] = lambda recipe: replace(
        recipe, lights=(LensLight(share=1.0, ratio=(0.3, 3.0), subtracted=1.0),)
    )
    return {name: change(recipe) for name, change in single.items()}
