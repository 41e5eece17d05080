"""Kernels in Triton, which compiles them when they are first called."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["add_up"]


@triton.jit  # type: ignore[untyped-decorator]
def add_up(  # type: ignore[no-untyped-def]
    dx,
    dy,
    strength,
    total_x,
    total_y,
    masses,
    n,
    softening,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """A tile of `lensequiv.simulation._kernels.sum_masses`.

    Args:
        dx: (B, K, n) float32.
        dy: (B, K, n) float32.
        strength: (B, K) float32.
        total_x: (B, n, n) float32, written to.
        total_y: (B, n, n) float32, written to.
        masses: K.
        n: Rays along an axis.
        softening: Added to squared distances.
        COLUMNS: Of the tile, a power of two.
        ROWS: Of the tile, a power of two.
    """
    lens = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    sum_x = tl.zeros((ROWS, COLUMNS), tl.float32)
    sum_y = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(masses):
        at = lens * masses + k
        x = tl.load(dx + at * n + column, mask=column < n, other=1.0)[None, :]
        y = tl.load(dy + at * n + row, mask=row < n, other=1.0)[:, None]
        weight = tl.load(strength + at) / (x * x + softening + y * y)
        sum_x += x * weight
        sum_y += y * weight
    place = lens * n * n + row[:, None] * n + column[None, :]
    inside = (row[:, None] < n) & (column[None, :] < n)
    tl.store(total_x + place, sum_x, mask=inside)
    tl.store(total_y + place, sum_y, mask=inside)
