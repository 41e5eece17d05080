"""What the maps of simulated lenses should show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lensequiv.inference import SubstructureMap

__all__ = ["placed_subhalos", "true_convergence"]

Array = NDArray[np.float64]


def placed_subhalos(
    parameters: Mapping[str, Array],
    maps: Sequence[SubstructureMap],
    *,
    pixels: int,
    pixel_scale: float,
) -> list[Array]:
    """Simulated subhalos in the coordinates of their maps.

    Args:
        parameters: What `Simulation.parameters` holds for the lenses.
        maps: Of the same lenses.
        pixels: Side of the simulated images.
        pixel_scale: Of the simulated images. *Unit*: arcsec/pixel.

    Returns:
        (K, 3) for each lens: x and y from the centre of the map in arcsec, and mass in
        solar masses; 0 in unused places.

    Raises:
        ValueError: The numbers of lenses differ.
    """
    x, y, mass = (parameters[name] for name in ("mass_x", "mass_y", "mass"))
    if len(x) != len(maps):
        raise ValueError(f"parameters of {len(x)} lenses, but {len(maps)} maps")
    placed = []
    for one, *places in zip(maps, x, y, mass, strict=True):
        height, width = one.presence.shape
        # How far the centre of the map is from that of the image.
        right = one.left + one.step * (width - 1) / 2 - (pixels - 1) / 2
        up = one.top + one.step * (height - 1) / 2 - (pixels - 1) / 2
        column, row, heavy = places
        placed.append(
            np.stack([column - right * pixel_scale, row - up * pixel_scale, heavy], 1)
        )
    return placed


def true_convergence(
    x: Array,
    y: Array,
    theta2: Array,
    *,
    shape: tuple[int, int],
    cell: float,
    smoothing: float,
) -> Array:
    """The convergence of point masses as a map should have it.

    Args:
        x: (K,) from the centre of the map, along columns. *Unit*: arcsec.
        y: (K,) likewise, along rows. *Unit*: arcsec.
        theta2: (K,) squared Einstein radii. *Unit*: arcsec^2.
        shape: Rows and columns of the map.
        cell: Side of a cell. *Unit*: arcsec.
        smoothing: Standard deviation of the Gaussian. *Unit*: arcsec.

    Returns:
        (h, w).
    """
    rows, columns = ((np.arange(side) - (side - 1) / 2) * cell for side in shape)
    down = np.exp(-((rows - np.asarray(y)[:, None]) ** 2) / (2 * smoothing**2))
    along = np.exp(-((columns - np.asarray(x)[:, None]) ** 2) / (2 * smoothing**2))
    # The integral of the convergence over the sky is pi times the squared radius.
    height = np.asarray(theta2) / (2 * smoothing**2)
    total: Array = (down * height[:, None]).T @ along
    return total
