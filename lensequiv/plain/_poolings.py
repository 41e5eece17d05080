"""From maps to vectors: statistics over the map, means over turned copies of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._filters import disc_weights


def copy_angles(count: int) -> list[float]:
    """By how many radians the copies of `turned_copies` are turned."""
    return [math.radians((k + 0.5) * 90 / count) for k in range(count)]


def turned_copies(x: Tensor, count: int) -> Tensor:
    """Maps turned by (k + 1/2) 90 / count degrees, k = 0 ... count - 1.

    Every copy is interpolated (bicubic), none is the map itself, and the angles are
    symmetric about 45 degrees: turns by 90 degrees and mirror images of the map permute
    the copies and turn them by multiples of 90 degrees, exactly.

    Args:
        x: (N, C, H, H) maps that are zero beyond the largest disc.
        count: Copies.

    Returns:
        (N count, C, H, H), the copies of a map one after another.
    """
    side = x.shape[-1]
    steps = (2 * torch.arange(side, dtype=x.dtype, device=x.device) + 1) / side - 1
    grids = []
    for angle in copy_angles(count):
        cos, sin = math.cos(angle), math.sin(angle)
        columns = cos * steps - sin * steps[:, None]
        rows = sin * steps + cos * steps[:, None]
        grids.append(torch.stack([columns, rows], -1))
    grid = torch.stack(grids).repeat(x.shape[0], 1, 1, 1)
    copies = x.repeat_interleave(count, 0)
    return F.grid_sample(copies, grid, mode="bicubic", align_corners=False)


class TurnedCopies(nn.Module):
    """`turned_copies`."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return turned_copies(x, self.count)


class CopiesMean(nn.Module):
    """Mean over `turned_copies`: (N count, C) to (N, C)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        mean: Tensor = x.unflatten(0, (-1, self.count)).mean(1)
        return mean


_STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(2),
    "max": lambda x: x.amax(2),
    "std": lambda x: x.std(2),
}


def check_statistics(kinds: Any) -> tuple[str, ...]:
    """The kinds of `map_statistics` as a tuple.

    Raises:
        ValueError: They are no list of different known names.
    """
    named = isinstance(kinds, list | tuple) and all(
        isinstance(kind, str) and kind in _STATISTICS for kind in kinds
    )
    if not named or not kinds or len(set(kinds)) < len(kinds):
        raise ValueError(
            f"statistics={repr(kinds)[:60]}: expected a list of different names among "
            f"{', '.join(_STATISTICS)}"
        )
    return tuple(kinds)


def map_statistics(
    x: Tensor, kinds: Sequence[str], weights: Tensor | None = None
) -> Tensor:
    """Statistics over the map.

    Args:
        x: (N, C, P).
        kinds: See `check_statistics`.
        weights: (P,) of the places, all alike if None. The maximum is that of the
            weighted map.

    Returns:
        (N, len(kinds) C).
    """
    if weights is None:
        return torch.cat([_STATISTICS[kind](x) for kind in kinds], 1)
    weights = weights / weights.sum()
    mean = (x * weights).sum(2)
    found: list[Tensor] = []
    for kind in kinds:
        if kind == "mean":
            found.append(mean)
        elif kind == "std":
            variance = ((x - mean[..., None]).square() * weights).sum(2)
            found.append((variance + 1e-12).sqrt())
        else:
            found.append((x * (weights / weights.max())).amax(2))
    return torch.cat(found, 1)


class MapStatistics(nn.Module):
    """`map_statistics` of (N, C, H, W), as (N, len(kinds) C).

    Args:
        kinds: See `check_statistics`.
        disc: Whether the places are weighted by `disc_weights` with an edge of a pixel.
    """

    def __init__(self, kinds: Sequence[str], disc: bool = False) -> None:
        super().__init__()
        self.kinds, self.disc = check_statistics(kinds), disc

    def forward(self, x: Tensor) -> Tensor:
        """See the class; sums are taken in single precision."""
        height, width = x.shape[2:]
        x = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
        weights = None
        if self.disc:
            weights = disc_weights(height, width, 1.0, x).flatten()
        return map_statistics(x, self.kinds, weights)


class MapMean(nn.Module):
    """Mean over the map: (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class; the sum is taken in single precision."""
        return x.to(torch.promote_types(x.dtype, torch.float32)).mean((2, 3))
