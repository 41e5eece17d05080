"""The numbers of each lens: drawn, turned, mirrored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.simulation._cosmology import (
    convention_factor,
    mass_to_arcsec2,
    virial_radius,
)
from lensequiv.simulation._scene import add_light, draw_shared
from lensequiv.simulation.halos import Combined, Halos, draw_shapes
from lensequiv.simulation.recipes import Recipe
from lensequiv.simulation.substructure import Range, Substructure, log_uniform

__all__ = ["BLOCK", "Arrays", "draw", "mirror", "rotate", "stack"]

Arrays = dict[str, NDArray[np.float64]]

# Lenses of one class drawn from one random stream. Changing it changes every image.
BLOCK = 64

# What changes its sign in a mirror, by the end of its name.
_MIRRORED = ("_y", "_angle", "_parity")


def draw(
    recipe: Recipe,
    label: int,
    rng: np.random.Generator,
    lenses: int = BLOCK,
    *,
    interpolated: bool = False,
) -> Arrays:
    """Draws lenses of one class.

    Args:
        recipe: The recipe.
        label: Index of the class.
        rng: Source of randomness.
        lenses: How many; another number gives other lenses, the first one included.
        interpolated: See `mass_to_arcsec2`.

    Returns:
        See `Simulation.parameters`.
    """
    degree = np.pi / 180

    def uniform(bounds: Range) -> NDArray[np.float64]:
        return rng.uniform(*bounds, size=lenses)

    p: Arrays = {
        "z_lens": uniform(recipe.z_lens),
        "z_source": uniform(recipe.z_source),
        "shear": uniform(recipe.shear),
        "shear_angle": uniform(recipe.shear_angle) * degree,
    }
    if recipe.source_square is None:
        radius = uniform(recipe.source_radius)
        angle = uniform((0, 2 * np.pi))
        p["source_x"], p["source_y"] = radius * np.cos(angle), radius * np.sin(angle)
    else:
        p["source_x"] = uniform(recipe.source_square)
        p["source_y"] = uniform(recipe.source_square)
    p["axis_ratio"] = uniform(recipe.axis_ratio)
    p["source_angle"] = uniform(recipe.source_angle) * degree
    p["halo_angle"] = np.full(lenses, recipe.halo_angle * degree)
    # What only richer recipes draw comes from a stream of its own.
    more = None if recipe.is_plain else rng.spawn(1)[0]
    shared: Arrays = {} if more is None else draw_shared(recipe, more, lenses)
    factor = mass_to_arcsec2(
        p["z_lens"], p["z_source"], recipe, interpolated=interpolated
    )
    if more is not None and recipe.einstein_radius is not None:
        radius = more.uniform(*recipe.einstein_radius, lenses)
        shared["total_mass"] = radius**2 / factor
    total_mass = shared.get("total_mass", np.full(lenses, recipe.total_mass))
    p |= shared
    component = recipe.substructure[recipe.classes[label]]
    if any(isinstance(c, Halos | Combined) for c in recipe.substructure.values()):
        p |= _draw_halos(recipe, component, rng, total_mass, p["z_lens"])
    else:
        whole: float | NDArray[np.float64] = recipe.total_mass
        if recipe.spread or recipe.einstein_radius is not None:
            whole = total_mass
        p["mass_x"], p["mass_y"], p["mass"] = component.draw(rng, lenses, whole)
    p["substructure_mass"] = p["mass"].sum(1)
    p["mass_theta2"] = p["mass"] * factor[:, None]
    halo = total_mass
    if recipe.shared_mass:
        # A drawn substructure heavier than the whole lens (1 in 1e6 for `sphere`)
        # leaves no halo.
        halo = np.maximum(halo - p["substructure_mass"], 0.0)
    p["theta_e"] = np.sqrt(halo * factor)
    if recipe.z_source_convention is not None:
        ratio = convention_factor(p["z_lens"], p["z_source"], recipe)
        for name in ("theta_e", "shear"):
            p[name] = p[name] * ratio
        p["mass_theta2"] = p["mass_theta2"] * ratio[:, None]
    p["exposure"] = log_uniform(rng, recipe.exposure, lenses)
    if more is not None:
        if recipe.ring is not None:
            whole_ring = np.sqrt(total_mass * factor)
            ring = log_uniform(more, recipe.ring, lenses)
            p["pixel_scale"] = whole_ring / ring
        add_light(recipe, more, p)
    return p


def _draw_halos(
    recipe: Recipe,
    component: Substructure,
    rng: np.random.Generator,
    total_mass: NDArray[np.float64],
    z_lens: NDArray[np.float64],
) -> Arrays:
    """Masses with their shapes."""
    masses, shapes = draw_shapes(component, rng, len(z_lens), total_mass, z_lens)
    names = ("mass_x", "mass_y", "mass", "mass_concentration", "mass_truncation")
    drawn = dict(zip(names, (*masses, *shapes), strict=True))
    reach = virial_radius(drawn["mass"], z_lens, recipe)
    # The isothermal sphere (concentration -1) keeps r_200 itself.
    drawn["mass_scale"] = reach / np.abs(np.where(shapes[0] == 0, 1, shapes[0]))
    return drawn


def rotate(p: Arrays, degrees: float | NDArray[np.float64]) -> Arrays:
    """Turns whole lenses, source included, anticlockwise on the sky.

    Args:
        p: What `draw` drew of (N,) lenses.
        degrees: One angle, or (N,) of them.

    Returns:
        A copy.
    """
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = dict(p)
    for name in [key.removesuffix("_x") for key in p if key.endswith("_x")]:
        x, y = p[f"{name}_x"], p[f"{name}_y"]
        c, s = (_beside(value, x) for value in (cos, sin))
        turned[f"{name}_x"], turned[f"{name}_y"] = x * c - y * s, x * s + y * c
    for name in [key for key in p if key.endswith("_angle")]:
        turned[name] = p[name] + _beside(angle, p[name])
    return turned


def mirror(p: Arrays, flipped: NDArray[np.bool_]) -> Arrays:
    """Mirrors whole lenses, source included, so that y becomes -y.

    Args:
        p: What `draw` drew of (N,) lenses.
        flipped: (N,) which of them.

    Returns:
        A copy.
    """
    sign = np.where(flipped, -1.0, 1.0)
    return {
        name: value * _beside(sign, value) if name.endswith(_MIRRORED) else value
        for name, value in p.items()
    }


def _beside(each: NDArray[np.float64], value: NDArray[np.float64]) -> Any:
    """One number a lens, beside one number or a list of them a lens."""
    return each[:, None] if each.ndim and value.ndim == 2 else each


def stack(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Concatenates along the images, padding the point masses with zeros."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    whole = np.zeros((sum(map(len, parts)), width))
    first = 0
    for part in parts:
        whole[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return whole
