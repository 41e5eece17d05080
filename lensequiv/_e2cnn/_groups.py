"""Groups of turns and reflections of the plane, by name."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from lensequiv._e2cnn._mended import e2cnn

__all__ = ["CONTINUOUS", "GSpace", "parse_group"]

CONTINUOUS = ("so2", "o2")
"""Names of the continuous groups."""

GSpace: TypeAlias = Any
"""An e2cnn `GeneralOnR2`; e2cnn has no types."""


def parse_group(name: str, max_frequency: int = 0) -> GSpace:
    """The symmetry of the plane that a group name stands for.

    Args:
        name: `"c8"`: rotations by multiples of 360/8 degrees; `"d8"`: these and
            reflections. Any order from 1 (`c1`) on. `"so2"`: all rotations; `"o2"`:
            these and reflections.
        max_frequency: Of a continuous group, the highest angular frequency of its
            irreducible representations that are made; ignored for the others.

    Returns:
        e2cnn's `Rot2dOnR2` or `FlipRot2dOnR2`; for order 1 `TrivialOnR2` or
        `Flip2dOnR2`.

    Raises:
        ValueError: The name is not of this form.
    """
    if name.lower() in CONTINUOUS:
        return _continuous(name.lower(), max_frequency)
    kind, order = name[:1].lower(), name[1:]
    if kind not in ("c", "d") or not order.isdecimal() or int(order) < 1:
        raise ValueError(
            f"group {name!r}: expected 'c' (rotations) or 'd' (rotations and "
            "reflections) and an order, for instance 'c8' or 'd4'; or 'so2' or 'o2'"
        )
    return _finite(kind, int(order))


# A space keeps the kernel bases that were built for it, so networks share their space:
# otherwise e2cnn compares every basis of a new network with those of the others.


@cache
def _continuous(name: str, max_frequency: int) -> GSpace:
    spaces = e2cnn.gspaces
    rotations = spaces.Rot2dOnR2 if name == "so2" else spaces.FlipRot2dOnR2
    return rotations(-1, maximum_frequency=max_frequency)


@cache
def _finite(kind: str, n: int) -> GSpace:
    spaces = e2cnn.gspaces
    if n == 1:
        return spaces.TrivialOnR2() if kind == "c" else spaces.Flip2dOnR2()
    return spaces.Rot2dOnR2(n) if kind == "c" else spaces.FlipRot2dOnR2(n)
