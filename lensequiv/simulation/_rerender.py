"""Lenses rendered from their parameters, with their substructure or without."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._physics import check_extra, render
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
    # Lenses with as many masses go together, so that few places are empty.
    real = parameters["mass_theta2"] > 0
    used = torch.from_numpy((real * np.arange(1, real.shape[1] + 1)).max(1, initial=0))
    images = torch.empty(len(used), recipe.pixels, recipe.pixels)
    for places in used.argsort(stable=True).split(together):
        chunk = {name: value[places.to(device)] for name, value in lens.items()}
        for name in ("mass_x", "mass_y", "mass_theta2"):
            chunk[name] = chunk[name][:, : int(used[places].amax())]
        images[places] = render(chunk, recipe, straight=straight).cpu()
    return images


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
    for name in ("mass_x", "mass_y", "mass_theta2", "mass"):
        smooth[name] = parameters[name][:, :0]
    smooth["substructure_mass"] = np.zeros_like(parameters["substructure_mass"])
    return smooth
