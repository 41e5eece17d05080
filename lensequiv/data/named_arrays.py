"""Named arrays (HDF5, NPZ): which is the image, and whether it is a stack of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from lensequiv.data.checks import MAX_CHANNELS, channel_axis, check_dtype
from lensequiv.data.errors import ImageError
from lensequiv.data.planes import Plane, choose

_PLURAL = re.compile(r"(?i)(^|[^a-z])(images|imgs|cutouts|stamps)$")


class Array(Protocol):
    """What is known of an array before it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype:
        """Its type."""


class Described(NamedTuple):
    """An array's shape and type, where it takes long to ask for them.

    Attributes:
        shape: Its shape; () also if it has none.
        dtype: Its type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype


def choose_array(
    arrays: Mapping[str, Array], name: str | None, path: Path, kind: str
) -> tuple[str, bool]:
    """Choose the image, or stack of images, among the arrays of a file.

    An array is a stack if it has four axes, (N, C, H, W), or three, (N, H, W), and
    is called `images`, `cutouts`, `stamps` or `imgs` (or ends so), or has as many
    planes as a 1-D array called `labels` has elements, or too many for channels.

    Args:
        arrays: The arrays of the file by name.
        name: The one asked for; None to choose as `lensequiv.data.planes.choose`.
        path: File named in the error message.
        kind: What the format calls an array, for messages.

    Returns:
        The name, and whether it is a stack.

    Raises:
        ImageError: There is no such array, none or more than one that can be the
            image, or the one asked for is neither an image nor a stack.
    """
    planes = {
        key: Plane(key, key, key, array.shape, dtype=array.dtype)
        for key, array in arrays.items()
    }
    labelled = {
        array.shape[0]
        for key, array in arrays.items()
        if key.split("/")[-1].lower() == "labels" and len(array.shape or ()) == 1
    }
    if name is None:
        images = [
            planes[key]
            for key, array in arrays.items()
            if _is_image(array) or _is_stack(key, array, labelled)
        ]
        if not images:  # of a single array, it can be said what is wrong with it
            images = [plane for plane in planes.values() if len(plane.shape or ()) > 1]
            images = images if len(images) == 1 else []
        name = str(choose(list(planes.values()), images, path).key)
    elif name not in planes:
        listed = ", ".join(plane.describe() for plane in planes.values()) or "none"
        raise ImageError.because(
            path, f"has no {kind} {name!r}", f"one of its {kind}s ({listed})"
        )
    array = arrays[name]
    check_dtype(array.dtype, path)
    stacked = _is_stack(name, array, labelled)
    if not stacked:
        channel_axis(array.shape or (), path)
    return name, stacked


def _is_image(array: Array) -> bool:
    """Whether an array has the type and layout of one image, with more than a row."""
    try:
        check_dtype(array.dtype, "")
        channel_axis(array.shape or (), "")
    except ImageError:
        return False
    return sum(axis > 1 for axis in array.shape) >= 2


def _is_stack(name: str, array: Array, labelled: set[int]) -> bool:
    """Whether an array holds several images; see `choose_array`."""
    shape = array.shape or ()
    if array.dtype.hasobject or array.dtype.kind not in "iuf" or 0 in shape:
        return False
    if len(shape) == 4:
        return shape[1] <= MAX_CHANNELS
    if len(shape) != 3 or 1 in shape[1:]:
        return False
    if _PLURAL.search(name) or shape[0] in labelled:
        return True
    try:
        channel_axis(shape, "")
    except ImageError:
        return True
    return False
