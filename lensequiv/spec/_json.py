"""Values as JSON holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any

__all__ = ["as_json"]

_MAX_DEPTH = 100


def as_json(value: Any, name: str) -> Any:
    """A copy of a value as JSON holds it: tuples become lists, NumPy's numbers ours.

    Args:
        value: Anything.
        name: What the value is called, for messages.

    Raises:
        ValueError: JSON has nothing for it, or it is NaN or infinite; the message names
            its place, such as `info['metrics']['auc']`.
    """
    return _as_json(value, name, _MAX_DEPTH)


def _as_json(value: Any, name: str, depth: int) -> Any:
    if depth < 0:
        raise ValueError(
            f"{name[:60]}... is nested more than {_MAX_DEPTH} deep, or holds itself"
        )
    kind = type(value)
    if kind in (str, int, bool, NoneType):
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise ValueError(
            f"{name} is {value}, which is not JSON compliant; expected a finite number"
        )
    if isinstance(value, Mapping):
        made: dict[str, Any] = {}
        for key, inner in value.items():
            if type(key) not in (str, int) or str(key) in made:
                raise ValueError(
                    f"{name} has the key {key!r:.60}; expected different texts"
                )
            made[str(key)] = _as_json(inner, f"{name}[{key!r}]", depth - 1)
        return made
    if isinstance(value, list | tuple):
        return [
            _as_json(inner, f"{name}[{i}]", depth - 1) for i, inner in enumerate(value)
        ]
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
        return _as_json(value.item(), name, depth)
    if isinstance(value, str | int | float):  # an enumeration, for instance
        base = next(b for b in (str, int, float) if isinstance(value, b))
        return _as_json(base(value), name, depth)
    raise ValueError(
        f"{name} is a {kind.__module__}.{kind.__qualname__}, which is not JSON-able; "
        "expected text, numbers, true, false, None, lists and dictionaries"
    )
