"""What stands in for NumPy's functions while a pickle runs: records of the calls."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

# Types that a record may name; `check_dtype` refuses some of them, by their name.
_TYPE = re.compile(r"[biufcO][0-9]{0,2}")


class RefusedError(Exception):
    """What is wrong with a pickle, as a message that begins with a verb."""


@dataclass(slots=True)
class PickledType:
    """Stand-in for a dtype: its code, such as f8, and byte order."""

    code: Any
    order: Any = "="

    def __setstate__(self, state: Any) -> None:
        """Take what follows the code: version, byte order and, unused, the rest."""
        plain = isinstance(state, tuple) and len(state) == 8 and state[0] == 3
        # Sub-arrays, names and fields belong to structured types.
        if not plain or any(part is not None for part in state[2:5]):
            raise RefusedError("holds a pickle with an unusual dtype")
        self.order = state[1]

    def resolve(self) -> np.dtype:
        """The dtype; `RefusedError` if it is none of a plain number or object."""
        plain = isinstance(self.code, str) and _TYPE.fullmatch(self.code)
        if not plain or self.order not in ("<", ">", "=", "|"):
            raise RefusedError("holds a pickle with an unusual dtype")
        dtype: np.dtype = np.dtype(self.code).newbyteorder(self.order)
        return dtype


@dataclass(slots=True)
class PickledArray:
    """Stand-in for an array (or, with shape (), a NumPy number)."""

    shape: Any = None
    dtype: Any = None
    fortran_order: Any = False
    content: Any = None

    def __setstate__(self, state: Any) -> None:
        """Take version, shape, dtype, order and content."""
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
            raise RefusedError("holds a pickled array with an unusual state")
        _, self.shape, self.dtype, self.fortran_order, self.content = state

    def resolve(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype; `RefusedError` unless they are of that kind at all."""
        plain = isinstance(self.shape, tuple) and isinstance(self.dtype, PickledType)
        if not plain or not all(type(axis) is int for axis in self.shape):
            raise RefusedError("holds a pickled array without shape or dtype")
        return self.shape, self.dtype.resolve()

    def values(self) -> np.ndarray:
        """The array, once its type is known to be that of numbers."""
        shape, dtype = self.resolve()
        content = self.content
        if isinstance(content, str):  # by protocol 2, or by Python 2
            content = content.encode("latin-1")
        if not isinstance(content, bytes | bytearray):
            raise RefusedError("holds a pickled array without pixels")
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(
            content
        ):
            raise RefusedError(
                f"holds a pickled array of {len(content)} bytes, which do not make"
                f" shape {shape} and type {dtype}"
            )
        order: Literal["C", "F"] = "F" if self.fortran_order else "C"
        return np.frombuffer(content, dtype).reshape(shape, order=order)


class _Admitted:
    """Stand-in for an admitted function or type: takes its arguments to a record."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def _no_call(*_: Any) -> None:
    raise RefusedError("holds a pickle that calls numpy.ndarray")


def _reconstruct(subtype: Any, shape: Any, code: Any) -> PickledArray:
    """Stand-in for `_reconstruct`: the array is empty until its state follows."""
    if subtype is not _NDARRAY or shape != (0,) or code not in (b"b", "b"):
        raise RefusedError("holds a pickled array built in an unusual way")
    return PickledArray()


def _from_buffer(
    content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> PickledArray:
    """Stand-in for `_frombuffer`, of protocol 5."""
    if order not in ("C", "F") or axes is not None:
        raise RefusedError(f"holds a pickled array in the unusual order {order!r:.20}")
    return PickledArray(shape, dtype, order == "F", content)


def _encode(text: Any, encoding: Any) -> str:
    """Stand-in for `_codecs.encode`, by which protocol 2 writes bytes.

    The text is encoded later, if at all: a pickle can ask for it hundreds of times.
    """
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("holds a pickle that calls _codecs.encode unusually")
    return text


_NDARRAY = _Admitted(_no_call)
ADMITTED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Admitted(
        lambda code, align=False, copy=True: PickledType(code)
    ),
    ("_codecs", "encode"): _Admitted(_encode),
}
for _core in ("numpy.core", "numpy._core"):  # of NumPy 1 and 2
    ADMITTED |= {
        (f"{_core}.multiarray", "_reconstruct"): _Admitted(_reconstruct),
        (f"{_core}.multiarray", "scalar"): _Admitted(
            lambda dtype, content: PickledArray((), dtype, False, content)
        ),
        (f"{_core}.numeric", "_frombuffer"): _Admitted(_from_buffer),
    }
