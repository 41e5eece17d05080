"""Pickled pairs of image and axion mass, read without trusting the pickle.

A pickle is a program: loading it calls whatever functions it names. Three things stand
between such a program and this process.

- The opcodes are listed first, without running them: only those that `numpy.save`
  needs for arrays and numbers are let through, at most `_MAX_OPCODES` of them, and
  with no length or memo index beyond the file.
- Of the functions and types that a pickle can name, only the few that rebuild arrays,
  types and numbers are admitted.
- Even these are never given out. Stand-ins take their place that merely write down
  their arguments; arrays are made from these records afterwards, with the same checks
  of type, shape and length as for any other file.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
from typing import Any

import numpy as np

from lensequiv.data.checks import channel_axis, check_dtype
from lensequiv.data.errors import ImageError
from lensequiv.data.pickle_records import ADMITTED, PickledArray, RefusedError

_EXPECTED = "a pickled object array of one image and one axion mass in eV"
_MAX_OPCODES = 1000  # a pair takes about 100
_ALLOWED = """
    PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD
    TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
"""
_OPCODES = frozenset(_ALLOWED.split())
_FRAME_BYTES = 9  # of the opcode and its length


def load_pair(
    content: bytes, shape: tuple[int, ...], where: str | os.PathLike[str]
) -> tuple[np.ndarray, float]:
    """Read image and mass from the pickle in an `.npy` file of type object.

    Args:
        content: Everything that follows the NPY header.
        shape: Of the object array, as the NPY header claims: (2,), or () if its one
            element holds the pair.
        where: File named in error messages.

    Returns:
        The image as stored, (H, W), (C, H, W) or (H, W, C), any integer or real type
        and byte order, read-only; and the mass in eV.

    Raises:
        ImageError: The pickle is damaged or holds or names anything else.
    """
    if shape not in ((2,), ()):
        raise ImageError.because(
            where, f"holds an object array of shape {shape}", _EXPECTED
        )
    try:
        image, mass = _pair(_run(content), shape)
        return _image(image, where), _mass(mass)
    except ImageError:
        raise
    except RefusedError as error:
        raise ImageError.because(where, str(error), _EXPECTED) from None
    except Exception as error:  # a damaged pickle can fail in any of its steps
        raise ImageError.because(
            where,
            f"holds a damaged pickle ({type(error).__name__}: {error})",
            _EXPECTED,
        ) from error


class _Unpickler(pickle.Unpickler):
    """Runs opcodes that `_scan` let through, on stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in, or refuse; nothing is ever imported."""
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise RefusedError(
                f"holds a pickle that asks for {module}.{name}, which is forbidden"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to objects outside the pickle."""
        raise RefusedError("holds a pickle with a persistent id")


def _run(content: bytes) -> Any:
    """Scan a pickle, then run it; returns records."""
    allowed, complaint = _scan(content)
    try:
        result = _Unpickler(io.BytesIO(allowed), encoding="latin1").load()
    except RefusedError:
        raise  # of two complaints, the one that may name a forbidden global
    except Exception:
        if complaint is None:
            raise
    if complaint is not None:
        raise RefusedError(complaint)
    return result


def _scan(content: bytes) -> tuple[bytes, str | None]:
    """List the opcodes without running them.

    Returns:
        The pickle up to the first opcode that is not allowed, without its frames
        (they serve speed alone); and what is wrong with the rest, or None.
    """
    parts: list[bytes] = []
    start, end, complaint = 0, 0, None
    arg: Any
    try:
        for count, (opcode, arg, at) in enumerate(pickletools.genops(content)):
            end = at or 0
            index = arg if opcode.name in ("LONG_BINPUT", "LONG_BINGET") else 0
            if opcode.name not in _OPCODES:
                named = f" of {arg.replace(' ', '.')}" if opcode.name == "INST" else ""
                complaint = f"the opcode {opcode.name}{named}, which is forbidden"
            elif count >= _MAX_OPCODES or index >= _MAX_OPCODES:
                complaint = f"more than {_MAX_OPCODES} opcodes or memo entries"
            elif opcode.name == "FRAME":
                parts.append(content[start:end])
                start = end + _FRAME_BYTES
                if arg > len(content) - start:
                    complaint = f"a frame of {arg} bytes, more than are there"
                    end = start
            if complaint is not None:
                break
        else:
            end += 1
            if end < len(content):
                complaint = f"{len(content) - end} further bytes after its end"
    except Exception as error:  # cut off, or an argument that cannot be parsed
        end = max(end, start)
        complaint = f"a damaged opcode ({error})"
    parts.append(content[start:end])
    complaint = f"holds a pickle with {complaint}" if complaint else None
    return b"".join(parts), complaint


def _pair(result: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Unwrap the object array, of the shape that the NPY header claims."""
    items: list[Any] | tuple[Any, ...] = _objects(result, shape)
    if shape == ():
        (inner,) = items
        items = inner if isinstance(inner, list | tuple) else _objects(inner, (2,))
    if len(items) != 2:
        raise RefusedError(f"holds a pickled sequence of {len(items)} objects")
    return items[0], items[1]


def _objects(array: Any, shape: tuple[int, ...]) -> list[Any]:
    """Elements of an object array."""
    if not isinstance(array, PickledArray):
        raise RefusedError("holds a pickle of something that is no array")
    found, dtype = array.resolve()
    content = array.content
    if dtype.kind != "O" or found != shape or not isinstance(content, list):
        raise RefusedError(f"holds a pickled array of shape {found} and type {dtype}")
    if len(content) != math.prod(shape):
        raise RefusedError(f"holds {len(content)} objects in an array of {shape}")
    return content


def _image(array: Any, where: str | os.PathLike[str]) -> np.ndarray:
    """Pixels of the first element."""
    if not isinstance(array, PickledArray):
        raise RefusedError("holds a pickled pair whose first element is no array")
    shape, dtype = array.resolve()
    check_dtype(dtype, where)
    channel_axis(shape, where)
    return array.values()


def _mass(mass: Any) -> float:
    """The second element, a number of Python's or NumPy's, as a float."""
    if isinstance(mass, PickledArray):
        shape, dtype = mass.resolve()
        if shape == () and dtype.kind in "iuf":
            mass = mass.values().item()
    if type(mass) not in (int, float) or not math.isfinite(mass):
        raise RefusedError("holds a pickled pair whose mass is not a finite number")
    return float(mass)
