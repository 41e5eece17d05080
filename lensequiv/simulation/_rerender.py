"""Lenses rendered from their parameters, with their substructure or without."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._physics import check_extra, render
from lensequiv.simulation._scene import LISTS, render_scene
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["Arrays", "render_lenses", "without_substructure"]

Arrays = dict[str, NDArray[np.float64]]

# Rays traced together: few enough for the processor's cache.
_RAYS = 360_000


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
        device: Where to render; the result is on the CPU.

    Returns:
        (N, pixels, pixels) float32 expected counts, sky included.

    Raises:
        ImportError: The extra `sim` is not installed.
    """
    check_extra()
    recipe = get_recipe(recipe)
    lens = {name: torch.from_numpy(v).to(device) for name, v in parameters.items()}
    together = max(1, _RAYS // (recipe.pixels * recipe.supersampling) ** 2)
    draw_image = render if recipe.is_plain else render_scene
    # Lenses with as many masses go together, so that few places are empty.
    used = {
        name: torch.from_numpy(_last_used(parameters[marker]))
        for name, marker in LISTS.items()
        if marker in parameters
    }
    images = torch.empty(len(used["mass"]), recipe.pixels, recipe.pixels)
    for places in used["mass"].argsort(stable=True).split(together):
        widths = {name: int(number[places].amax()) for name, number in used.items()}
        chunk = {
            name: value[places.to(device)][:, : widths[name.split("_")[0]]]
            if value.ndim == 2
            else value[places.to(device)]
            for name, value in lens.items()
        }
        images[places] = draw_image(chunk, recipe, straight=straight).cpu()
    return images


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
