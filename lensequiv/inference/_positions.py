"""Which of N images an index asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["positions"]


def positions(index: Any, n: int) -> int | list[int]:
    """What an index asks for, as positions from 0 to n - 1.

    Raises:
        IndexError: See `Prediction.__getitem__`.
        TypeError: See `Prediction.__getitem__`.
    """
    if isinstance(index, slice):
        return list(range(n))[index]
    if isinstance(index, str | bytes | tuple):
        raise TypeError(_wrong(index))
    array = index.cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)
    if array.ndim > 1 or (array.size and array.dtype.kind not in "biu"):
        raise TypeError(_wrong(index))
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise IndexError(
                f"a mask of shape {array.shape} for {n} images; expected ({n},)"
            )
        return [int(i) for i in np.flatnonzero(array)]
    for i in array.reshape(-1).tolist():
        if not -n <= i < n:
            raise IndexError(f"index {int(i)} is out of range for {n} images")
    found = [int(i) % n for i in array.reshape(-1).tolist()]
    return found[0] if array.ndim == 0 else found


def _wrong(index: Any) -> str:
    return (
        f"index {index!r}: expected an integer, a slice, a mask or a list of integers"
    )
