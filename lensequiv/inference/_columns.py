"""The columns of predictions, wherever they are written: names, and how values look."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "ABOUT",
    "class_columns",
    "column_names",
    "readable",
    "shortest",
    "written_path",
]

ABOUT = ("ood_score", "unlike_training", "notes", "error")
"""The columns after those of the classes."""


def class_columns(classes: Sequence[str], told: Sequence[str] = ()) -> list[str]:
    """The columns of the classes' probabilities: their names.

    A class that is called like another column, for instance `error`, gets the column
    `p(error)`, so that neither hides the other.

    Args:
        classes: Names of the classes.
        told: Columns of quantities.
    """
    taken = {"path", "label", *told, *ABOUT}
    return [f"p({name})" if name in taken else name for name in classes]


def column_names(classes: Sequence[str], told: Sequence[str] = ()) -> list[str]:
    """All columns, in order; arguments as of `class_columns`."""
    return ["path", "label", *class_columns(classes, told), *told, *ABOUT]


def written_path(path: str) -> str:
    """A path as it is written to files and screens.

    File names are bytes on Unix, and some are not UTF-8. Such a path is written as the
    `file:` URI of the absolute path, whose percent signs keep every byte (RFC 8089);
    so is one that begins with `file:` itself, so that no two paths are written alike.
    All others are written as they are.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        pass
    else:
        if not path.startswith("file:"):
            return path
    return "file://" + quote_from_bytes(os.fsencode(Path(path).absolute()))


def readable(text: str) -> str:
    """A text that UTF-8 can hold: what it cannot becomes an escape."""
    return text.encode(errors="backslashreplace").decode()


def shortest(values: Tensor) -> list[Any]:
    """Float32 numbers as floats whose digits are the fewest that bring them back.

    Printed, 0.1 becomes 0.1 and not 0.10000000149011612. As float32 they are the
    numbers that were given, to the last bit.
    """
    array: NDArray[np.float64] = values.numpy().astype(str).astype(np.float64)
    return array.tolist()  # type: ignore[no-any-return]  # nested as the array is
