"""Lists of light, of which each lens has some: what is added to an image of many.

Which places of a list are used differs from lens to lens. The processor goes from used
place to used place. Another device would have to be waited for to learn which they are,
so all lenses whose lists reach so far go on together there.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._physics import sersic
from lensequiv.simulation._recipe import Recipe

__all__ = ["LISTS", "add_sersics", "add_stars", "has_list"]

# Lists of which a lens has a varying number, and what says that a place is used.
LISTS = {
    "mass": "mass_theta2",
    "light": "light_amplitude",
    "clump": "clump_amplitude",
    "star": "star_flux",
}
_SHAPE = ("x", "y", "radius", "index", "axis_ratio", "angle")  # of Sersic profiles


def has_list(lens: dict[str, Tensor], name: str) -> bool:
    """Whether there is a list of this name with anything in it."""
    return f"{name}_x" in lens and lens[f"{name}_x"].shape[1] > 0


def add_sersics(
    light: Tensor,
    x: Tensor,
    y: Tensor,
    lens: dict[str, Tensor],
    name: str,
    used: NDArray[np.int64],
) -> Tensor:
    """Adds a list of Sersic profiles, only as far as places are used.

    Args:
        light: (B, n, n) to add to; is overwritten.
        x: (B, n, n) positions where it is seen; `y` likewise. (B, 1, n) for x and
            (B, n, 1) for y will do where that is all.
        y: See `x`.
        lens: Holds the list.
        name: `"light"` or `"clump"`.
        used: (B,) one past the last place that each lens uses.

    Returns:
        (B, n, n).
    """
    if light.device.type == "cpu":
        return _add_by_lens(light, x, y, lens, name)
    # Which places are used is known there alone, and asking takes longer.
    return _add_by_place(light, x, y, lens, name, used)


def _add_by_lens(
    light: Tensor, x: Tensor, y: Tensor, lens: dict[str, Tensor], name: str
) -> Tensor:
    """Adds used places, those of one lens after those of another."""
    found = lens[LISTS[name]].nonzero()
    for pairs in found.split(max(1, len(light))):
        which, place = pairs.T
        p = {key: lens[f"{name}_{key}"][which, place].to(light.dtype) for key in _SHAPE}
        one = _profile(x.index_select(0, which), y.index_select(0, which), p)
        amplitude = lens[LISTS[name]][which, place].to(light.dtype)
        light.index_add_(0, which, one.mul_(amplitude[:, None, None]))
    return light


def _add_by_place(
    light: Tensor,
    x: Tensor,
    y: Tensor,
    lens: dict[str, Tensor],
    name: str,
    used: NDArray[np.int64],
) -> Tensor:
    """Adds one place after the other of the lenses that reach so far.

    How many they are is known on the processor, which ones on the device.
    """
    marker = lens[LISTS[name]]
    there = marker != 0
    # An unused place may be all zeros: a radius of 0 makes it NaN, whatever the light.
    p = {
        key: torch.where(there, lens[f"{name}_{key}"], 1.0).to(light.dtype)
        for key in _SHAPE
    }
    p["amplitude"] = marker.to(light.dtype)
    number = torch.arange(1, marker.shape[1] + 1, device=marker.device)
    order = (there * number).amax(1).argsort(descending=True)
    for place in range(marker.shape[1]):
        which = order[: int((used > place).sum())]
        at = {key: value[which, place] for key, value in p.items()}
        one = _profile(x.index_select(0, which), y.index_select(0, which), at)
        # Each lens is there once, so the sum does not depend on the order of additions.
        light.index_add_(0, which, one.mul_(at["amplitude"][:, None, None]))
    return light


def _profile(x: Tensor, y: Tensor, p: dict[str, Tensor]) -> Tensor:
    """`sersic` with parameters named as in lists, (B,) each."""
    shape = {f"source_{key}": p[key] for key in ("x", "y", "angle")}
    shape["axis_ratio"] = p["axis_ratio"]
    return sersic(x, y, shape, *(p[key][:, None, None] for key in ("index", "radius")))


def add_stars(image: Tensor, lens: dict[str, Tensor], recipe: Recipe) -> None:
    """Adds stars to an image before its blurring, shared among the nearest pixels."""
    n = recipe.pixels
    lenses = torch.arange(len(image), device=image.device)
    for k in range(lens["star_x"].shape[1]):
        column = lens["star_x"][:, k] / recipe.pixel_scale + (n - 1) / 2
        row = lens["star_y"][:, k] / recipe.pixel_scale + (n - 1) / 2
        flux = lens["star_flux"][:, k] / recipe.pixel_scale**2
        inside = (column > 0) & (column < n - 1) & (row > 0) & (row < n - 1)
        flux = torch.where(inside, flux, 0.0)
        column, row = (at.clamp(0, n - 1.001) for at in (column, row))
        left, top = column.long(), row.long()
        right, bottom = column - left, row - top
        for i, vertical in ((0, 1 - bottom), (1, bottom)):
            for j, horizontal in ((0, 1 - right), (1, right)):
                image[lenses, top + i, left + j] += (flux * vertical * horizontal).to(
                    image.dtype
                )
