"""Single changes of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from lensequiv.simulation import Recipe
    from lensequiv.simulation.substructure import Range

__all__ = ["OF_IMAGES", "WITHIN", "perturbations"]

Change: TypeAlias = "Callable[[Recipe], Recipe]"

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


def _scaled(name: str, factor: float) -> Change:
    """Multiplies one number of a recipe that all its lenses share."""

    def change(recipe: Recipe) -> Recipe:
        low, high = recipe.spread.get(name, (1.0, 1.0))
        spread = {**recipe.spread, name: (low * factor, high * factor)}
        return replace(recipe, spread=spread)

    return change


def _times(bounds: Range, factor: float) -> Range:
    return bounds[0] * factor, bounds[1] * factor


def _fainter(bounds: Range, factor: float) -> Range:
    """A range of magnitudes of what has `factor` times the light."""
    step = -2.5 * math.log10(factor)
    return bounds[0] + step, bounds[1] + step


def _blurred(factor: float) -> Change:
    """Another width of the point-spread function, its kernel cut at as many sigma."""

    def change(recipe: Recipe) -> Recipe:
        from lensequiv.simulation import Blur, PSFImages

        size = 2 * math.ceil(recipe.psf_size // 2 * max(factor, 1.0)) + 1
        size = min(size, recipe.pixels - 1 + recipe.pixels % 2)
        if isinstance(recipe.blur, Blur):
            blur = replace(recipe.blur, fwhm=_times(recipe.blur.fwhm, factor))
            return replace(recipe, blur=blur, psf_size=size)
        if isinstance(recipe.blur, PSFImages):
            images = replace(recipe.blur, width=_times(recipe.blur.width, factor))
            return replace(recipe, blur=images, psf_size=size)
        return replace(_scaled("psf_sigma", factor)(recipe), psf_size=size)

    return change


def _of_noise(detector: Any, camera: Any, poisson: Change) -> Change:
    """A change of what the kinds of noise call by different names.

    Args:
        detector: Fields of a `Detector` from the noise.
        camera: Fields of a `Camera` from the noise.
        poisson: The change of a recipe with `PoissonSky`.
    """

    def change(recipe: Recipe) -> Recipe:
        from lensequiv.simulation import Camera, Detector

        noise = recipe.noise
        if isinstance(noise, Camera):
            return replace(recipe, noise=replace(noise, **camera(noise)))
        if isinstance(noise, Detector):
            return replace(recipe, noise=replace(noise, **detector(noise)))
        return poisson(recipe)

    return change


def _sky(factor: float) -> Change:
    return _of_noise(
        lambda noise: {"sky_level": _times(noise.sky_level, factor)},
        lambda noise: {"sky_brightness": _fainter(noise.sky_brightness, factor)},
        _scaled("sky", factor),
    )


def _brightness(factor: float) -> Change:
    return _of_noise(
        lambda noise: {"peak_snr": _times(noise.peak_snr, factor)},
        lambda noise: {"magnitude": _fainter(noise.magnitude, factor)},
        _scaled("amplitude", factor),
    )


def _noise(factor: float) -> Change:
    """Noise times a factor, relative to the light: another exposure time."""

    def poisson(recipe: Recipe) -> Recipe:
        recipe = _scaled("amplitude", factor**-2)(recipe)
        return _scaled("sky", factor**-2)(recipe)

    return _of_noise(
        lambda noise: {"peak_snr": _times(noise.peak_snr, 1 / factor)},
        lambda noise: {"exposure": _times(noise.exposure, factor**-2)},
        poisson,
    )


def _ring(factor: float) -> Change:
    """Another Einstein radius; it goes with the root of the mass."""

    def change(recipe: Recipe) -> Recipe:
        if recipe.ring is not None:
            return replace(recipe, ring=_times(recipe.ring, factor))
        if recipe.einstein_radius is not None:
            radius = _times(recipe.einstein_radius, factor)
            return replace(recipe, einstein_radius=radius)
        return _scaled("total_mass", factor**2)(recipe)

    return change


def _flat_halo(recipe: Recipe) -> Recipe:
    from lensequiv.simulation import PowerLaw

    halo = recipe.deflector or PowerLaw()
    return replace(recipe, deflector=replace(halo, axis_ratio=(0.7, 0.7)))


def _lit(subtracted: float) -> Change:
    """Light of the lens, as it is or after a model of it was subtracted."""

    def change(recipe: Recipe) -> Recipe:
        from lensequiv.simulation import LensLight

        others = [c for c in recipe.lights if not isinstance(c, LensLight)]
        light = LensLight(share=1.0, ratio=(0.3, 3.0), subtracted=subtracted)
        return replace(recipe, lights=(light, *others))

    return change


def perturbations(recipe: Recipe) -> dict[str, Recipe]:
    """Single changes of a recipe, by name; the first is none.

    The changes are those that a real telescope or another simulation would bring:
    point-spread function, pixel scale, noise, sky, Einstein radius, source,
    ellipticity, direction of the shear, light of the lens. docs/robustness.md says
    what each stands for.

    Args:
        recipe: With the noise of `PoissonSky`, `Detector` or `Camera`. Pixels take
            point-spread functions with them.

    Returns:
        Recipes with the same classes and pixels.

    Raises:
        ValueError: The recipe has another kind of noise.
    """
    from lensequiv.simulation import Camera, Detector, PoissonSky

    if not isinstance(recipe.noise, PoissonSky | Detector | Camera):
        raise ValueError(
            f"recipe {recipe.name!r} has {type(recipe.noise).__name__}; expected one "
            "with PoissonSky, Detector or Camera, such as modelF or hst"
        )
    single: dict[str, Change] = {"none": lambda same: same}
    for factor in (0.75, 0.8, 1.25, 1.5):
        single[f"PSF width x {factor}"] = _blurred(factor)
    for name, key, factors in (
        ("pixel scale", "pixel_scale", (0.9, 0.95, 1.05, 1.1)),
        ("source radius", "effective_radius", (0.7, 0.77, 1.3, 1.4)),
        ("source index", "sersic_index", (0.5, 0.77, 1.3, 2.0)),
    ):
        for factor in factors:
            single[f"{name} x {factor}"] = _scaled(key, factor)
    for name, changed in (("sky", _sky), ("brightness", _brightness)):
        for factor in (0.67, 1.5):
            single[f"{name} x {factor}"] = changed(factor)
    for factor in (0.5, 2.0):
        single[f"noise x {factor}"] = _noise(factor)
    for factor in (0.8, 0.9, 0.95, 1.05, 1.1, 1.2):
        single[f"ring x {factor}"] = _ring(factor)
    single["halo of axis ratio 0.7"] = _flat_halo
    single["shear at any angle"] = lambda recipe: replace(
        recipe, shear_angle=(0.0, 180.0)
    )
    single["lens light"] = _lit(subtracted=0.0)
    single["lens light, subtracted"] = _lit(subtracted=1.0)
    return {name: change(recipe) for name, change in single.items()}
