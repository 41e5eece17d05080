"""Lenses rendered from their parameters, with their substructure or without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._checks import rendering_device
from lensequiv.simulation._light_lists import LISTS
from lensequiv.simulation._physics import check_extra, render
from lensequiv.simulation._scene import render_scene
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["Arrays", "render_lenses", "without_substructure"]

Arrays = dict[str, NDArray[np.float64]]

# Rays traced together: few enough for the processor's cache. On another device enough
# to fill it, and memory for them: up to twenty numbers a ray at a time, in at most a
# fifth of the memory.
_RAYS = 360_000
_DEVICE_RAYS = 30_000_000
_DEVICE_SHARE = 5 * 20 * 4


def render_lenses(
    recipe: str | Recipe,
    parameters: Arrays,
    *,
    straight: bool = False,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Renders lenses with given parameters, without noise.

    Args:
        recipe: Everything that all images share.
        parameters: What `Simulation.parameters` holds, for N >= 1 lenses; all but
            `z_lens`, `z_source`, `mass` and `substructure_mass` are used. Point masses
            with `mass_theta2` 0 do nothing.
        straight: Whether each lens's point masses are equal and evenly spaced on a
            straight line (vortices). Their deflection then has a closed form, which is
            faster and agrees with the sum to 1e-5.
        device: Where to render; the result stays there.

    Returns:
        (N, pixels, pixels) float32 expected counts, sky included.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: Unknown recipe, or there is no such device.
    """
    check_extra()
    where = rendering_device(device)
    return render_on(where, get_recipe(recipe), parameters, straight=straight)


def render_on(
    device: torch.device, recipe: Recipe, parameters: Arrays, *, straight: bool
) -> Tensor:
    """As `render_lenses`, on a device that is there."""
    used = used_places(parameters)
    # Lenses with as many masses go together, so that few places are empty.
    order = np.argsort(used["mass"], kind="stable")
    lens = {
        name: torch.from_numpy(value[order]).to(device)
        for name, value in parameters.items()
    }
    used = {name: number[order] for name, number in used.items()}
    images = torch.empty(len(order), recipe.pixels, recipe.pixels, device=device)
    places = torch.from_numpy(order).to(device)
    for at, rendered in render_pieces(recipe, lens, used, straight=straight):
        images[places[at]] = rendered
    return images


def render_pieces(
    recipe: Recipe,
    lens: dict[str, Tensor],
    used: dict[str, NDArray[np.int64]],
    *,
    straight: bool,
) -> Iterator[tuple[slice, Tensor]]:
    """Renders lenses piece by piece, as many at a time as the device likes best.

    Args:
        recipe: Everything that all images share.
        lens: What `Simulation.parameters` holds, as float64 tensors of one device.
            Lenses with as many masses should stand together: the longest list of a
            piece decides its cost.
        used: What `used_places` says of them.
        straight: See `render_lenses`.

    Yields:
        Which lenses, and their images (B, pixels, pixels) float32 without noise, on
        that device.
    """
    rays = _rays_together(lens["theta_e"].device)
    together = max(1, rays // (recipe.pixels * recipe.supersampling) ** 2)
    count = len(used["mass"])
    for start in range(0, count, together):
        at = slice(start, min(start + together, count))
        reach = {name: number[at] for name, number in used.items()}
        widths = {name: int(number.max()) for name, number in reach.items()}
        piece = {
            name: value[at, : widths[name.split("_")[0]]]
            if value.ndim == 2
            else value[at]
            for name, value in lens.items()
        }
        if recipe.is_plain:
            yield at, render(piece, recipe, straight=straight)
        else:
            yield at, render_scene(piece, recipe, straight=straight, used=reach)


def used_places(parameters: Arrays) -> dict[str, NDArray[np.int64]]:
    """One past the last place that each lens uses of each list, (N,) by list.

    Where masses have shapes, `kinds` says whether a lens has points (1), extended
    halos (2), or both (3).
    """
    found = {
        name: _last_used(parameters[marker])
        for name, marker in LISTS.items()
        if marker in parameters
    }
    if "mass_concentration" in parameters:
        there = parameters["mass_theta2"] != 0
        point = parameters["mass_concentration"] == 0
        kinds = (there & point).any(1) + 2 * (there & ~point).any(1)
        found["kinds"] = kinds.astype(np.int64)
    return found


def _rays_together(device: torch.device) -> int:
    if device.type == "cpu":
        return _RAYS
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return min(_DEVICE_RAYS, memory // _DEVICE_SHARE)
    return _DEVICE_RAYS


def _last_used(marker: NDArray[np.float64]) -> NDArray[np.int64]:
    """One past the last place of a list that is used, for each lens."""
    places = (marker != 0) * np.arange(1, marker.shape[1] + 1)
    last: NDArray[np.int64] = places.max(1, initial=0)
    return last


def without_substructure(recipe: str | Recipe, parameters: Arrays) -> Arrays:
    """The same lenses as class `no` would have them.

    Where the recipe takes the substructure's mass from the halo, the halo gets it back.

    Args:
        recipe: What the lenses were drawn from.
        parameters: What `Simulation.parameters` holds.

    Returns:
        A copy with no point masses.
    """
    recipe = get_recipe(recipe)
    smooth = dict(parameters)
    if recipe.shared_mass:
        # theta_E^2 is proportional to the mass.
        lost = parameters["mass_theta2"].sum(1)
        smooth["theta_e"] = np.sqrt(parameters["theta_e"] ** 2 + lost)
    for name, value in parameters.items():
        if value.ndim == 2 and name.split("_")[0] == "mass":
            smooth[name] = value[:, :0]
    smooth["substructure_mass"] = np.zeros_like(parameters["substructure_mass"])
    return smooth
