"""Checks of what recipes are given."""

from __future__ import annotations

import math

__all__ = ["check_range"]


def check_range(
    name: str, bounds: tuple[float, float], lowest: float, highest: float
) -> None:
    """Requires finite bounds in order, within limits.

    Raises:
        ValueError: They are not; the message names them.
    """
    good = (
        len(bounds) == 2
        and all(math.isfinite(bound) for bound in bounds)
        and lowest <= bounds[0] <= bounds[1] <= highest
    )
    if not good:
        raise ValueError(
            f"{name}={bounds}: expected {lowest:g} <= low <= high <= {highest:g}"
        )
