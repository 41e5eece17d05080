"""Recipes made easier, to begin a training with.

A network that is shown the recipe `euclid` from the start learns nothing in tens of
thousands of lenses: sources of any shape, rings of any size and multipoles hide what
tells the classes apart. One that learnt to see substructure in simple scenes keeps it
while they grow, step by step, into those of the recipe.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lensequiv.simulation import (
    Camera,
    Clumps,
    Galaxies,
    LensLight,
    Neighbours,
    PowerLaw,
    Recipe,
)

__all__ = ["eased"]

Range = tuple[float, float]

DEEPER = 100.0  # how many times as long the easiest lenses are exposed
RANGES = (
    *("z_lens", "z_source", "einstein_radius", "axis_ratio", "shear", "shear_angle"),
    *("source_radius", "source_angle"),
)


def eased(recipe: Recipe, ease: float) -> Recipe:
    """The recipe with scenes that differ less, and are exposed longer.

    Ranges of the lens and its source shrink to their middles, and so do the factors in
    `spread`; galaxies as sources, clumps, neighbours, multipoles and defects become
    rarer or smaller; a `Camera` exposes up to 100 times as long. What the classes
    differ in, the telescope and the light of the lens stay as they are.

    Args:
        recipe: What to make easier.
        ease: 0 for the recipe itself, 1 for the easiest.

    Raises:
        ValueError: `ease` is not between 0 and 1.
    """
    if not 0 <= ease <= 1:
        raise ValueError(f"ease={ease}: expected from 0 to 1")
    if ease == 0:
        return recipe
    left = 1 - ease
    changes: dict[str, Any] = {
        name: _shrunk(value, left)
        for name in RANGES
        if (value := getattr(recipe, name)) is not None
    }
    changes["spread"] = {
        name: (low**left, high**left) for name, (low, high) in recipe.spread.items()
    }
    changes["lights"] = tuple(_light(light, left) for light in recipe.lights)
    if recipe.deflector is not None:
        changes["deflector"] = _deflector(recipe.deflector, left)
    changes["noise"] = _noise(recipe.noise, ease)
    return replace(recipe, name=f"{recipe.name}-eased-{ease:g}", **changes)


def _shrunk(bounds: Range, left: float) -> Range:
    """A range about the same middle, a share of it as wide."""
    low, high = bounds
    middle, half = (low + high) / 2, (high - low) / 2
    return middle - left * half, middle + left * half


def _deflector(deflector: PowerLaw, left: float) -> PowerLaw:
    return replace(
        deflector,
        slope=_shrunk(deflector.slope, left),
        axis_ratio=_shrunk(deflector.axis_ratio, left),
        angle=_shrunk(deflector.angle, left),
        offset=left * deflector.offset,
        third=_scaled(deflector.third, left),
        fourth=_scaled(deflector.fourth, left),
    )


def _scaled(bounds: Range, factor: float) -> Range:
    return bounds[0] * factor, bounds[1] * factor


def _light(light: Any, left: float) -> Any:
    """A component of the light, the rarer or the truer to the mass."""
    if isinstance(light, Galaxies | Clumps):
        return replace(light, share=left * light.share)
    if isinstance(light, Neighbours):
        return replace(light, galaxies=left * light.galaxies, stars=left * light.stars)
    if isinstance(light, LensLight):
        return replace(
            light,
            axis_ratio_scatter=left * light.axis_ratio_scatter,
            angle_scatter=left * light.angle_scatter,
            residual=left * light.residual,
        )
    return light


def _noise(noise: Any, ease: float) -> Any:
    """Of a camera that exposes longer; any other noise as it is."""
    if not isinstance(noise, Camera):
        return noise
    left = 1 - ease
    return replace(
        noise,
        magnitude=_shrunk(noise.magnitude, left),
        exposure=_scaled(noise.exposure, DEEPER**ease),
        gradient=_scaled(noise.gradient, left),
        defects=left * noise.defects,
    )
