"""How well a map agrees with the truth, image by image."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.plain import gaussian_kernel

__all__ = ["near_substructure", "rank_correlation", "share_within", "smooth_maps"]


def smooth_maps(maps: Tensor, sigma: float) -> Tensor:
    """Convolves with a Gaussian; beyond the edge the map is reflected.

    Args:
        maps: (..., H, W), real, with sides above 4 sigma.
        sigma: Width. *Unit*: pixels; 0 leaves the maps as they are.

    Returns:
        The same shape.

    Raises:
        ValueError: sigma is negative or too large for the maps.
    """
    half = math.ceil(4 * sigma)
    if not 0 <= half < min(maps.shape[-2:]):
        raise ValueError(
            f"sigma={sigma}: expected 0 or more pixels, and 4 sigma below the side of "
            f"{min(maps.shape[-2:])}"
        )
    if half == 0:
        return maps
    kernel = gaussian_kernel(sigma, half).to(maps)
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    flat = F.pad(flat, [half] * 4, mode="reflect")
    flat = F.conv2d(
        F.conv2d(flat, kernel[None, None, None]), kernel[None, None, :, None]
    )
    return flat.reshape(maps.shape)


def rank_correlation(a: Tensor, b: Tensor, mask: Tensor) -> NDArray[np.float64]:
    """Spearman's rank correlation of two maps over some pixels, image by image.

    Args:
        a: (N, H, W).
        b: (N, H, W).
        mask: (N, H, W) bool: which pixels count.

    Returns:
        (N,) from -1 to 1; NaN where one of the maps is constant.

    Raises:
        ValueError: The shapes differ.
    """
    _check_shapes(a, b, mask)
    result = np.full(len(a), np.nan)
    for i, chosen in enumerate(mask):
        x, y = _ranks(a[i][chosen]), _ranks(b[i][chosen])
        spread = math.sqrt(float(x @ x) * float(y @ y))
        if spread > 0:
            result[i] = float(x @ y) / spread
    return result


def _ranks(values: Tensor) -> NDArray[np.float64]:
    """Ranks less their mean; equal values share theirs."""
    _, place, count = np.unique(values.numpy(), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return np.asarray(ranks - ranks.mean() if len(ranks) else ranks)


def share_within(maps: Tensor, where: Tensor, mask: Tensor) -> NDArray[np.float64]:
    """Share of a map's absolute value that lies in some of the pixels that count.

    Args:
        maps: (N, H, W).
        where: (N, H, W) bool.
        mask: (N, H, W) bool: which pixels count.

    Returns:
        (N,) from 0 to 1; NaN where a map is zero over the mask.

    Raises:
        ValueError: The shapes differ.
    """
    _check_shapes(maps, where, mask)
    size = maps.abs().double()
    return np.asarray(
        ((size * (where & mask)).sum((1, 2)) / (size * mask).sum((1, 2))).numpy()
    )


def near_substructure(
    parameters: dict[str, NDArray[np.float64]],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
    radius: float,
    least_mass: float = 0.0,
) -> Tensor:
    """Which pixels are near a subhalo or a vortex.

    Args:
        parameters: What `lensequiv.simulation.Simulation.parameters` holds, N lenses.
        axes: Positions of the columns (W,) and rows (H,), as `Attribution.axes`
            returns. *Unit*: arcsec.
        radius: *Unit*: arcsec.
        least_mass: Lighter point masses are passed over. *Unit*: solar masses.

    Returns:
        (N, H, W) bool.
    """
    columns, rows = (torch.from_numpy(axis) for axis in axes)
    n, places = parameters["mass_x"].shape
    near = torch.zeros(n, len(rows), len(columns), dtype=torch.bool)
    mass = parameters["mass"]
    for k in range(places):
        counts = torch.from_numpy((mass[:, k] > 0) & (mass[:, k] >= least_mass))
        dx = columns - torch.from_numpy(parameters["mass_x"][:, k, None])
        dy = rows - torch.from_numpy(parameters["mass_y"][:, k, None])
        within = dx.square()[:, None, :] + dy.square()[:, :, None] <= radius**2
        near |= within & counts[:, None, None]
    return near


def _check_shapes(*maps: Tensor) -> None:
    shapes = [tuple(m.shape) for m in maps]
    if maps[0].ndim != 3 or len(set(shapes)) > 1:
        raise ValueError(f"maps of the shapes {shapes}; expected one (N, H, W)")
