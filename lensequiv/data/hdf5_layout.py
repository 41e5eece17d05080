"""The layout of a data set in one HDF5 file, as `lensequiv simulate` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lensequiv.data.checks import MAX_CHANNELS, check_compressed_size, check_dtype
from lensequiv.data.errors import ImageError
from lensequiv.data.hdf5 import check_storage, datasets

__all__ = ["find_set", "read_classes", "refuse_layout"]

_LAYOUT = (
    "`images` (N, H, W) or (N, C, H, W) of numbers, `labels` (N,) of integers and an"
    " attribute `classes` of names, as `lensequiv simulate` writes them"
)


def refuse_layout(path: Path, found: str) -> NoReturn:
    """Say what was found in a file in place of the layout.

    Raises:
        ImageError: Always.
    """
    raise ImageError.because(path, found, _LAYOUT)


def find_set(file: Any, path: Path) -> tuple[Any, Any]:
    """Find the data sets of images and labels, and make sure that they fit.

    Args:
        file: The open file.
        path: Its name, for messages.

    Returns:
        Images, (N, H, W) or (N, C, H, W), and labels, (N,), none of them read yet.

    Raises:
        ImageError: There are none, or of another layout.
    """
    found = datasets(file)
    for name in ("images", "labels"):
        if name not in found:
            listed = ", ".join(found) or "none"
            refuse_layout(path, f"has no data set {name} (data sets: {listed})")
        check_storage(found[name], path)
    images, labels = found["images"], found["labels"]
    check_dtype(images.dtype, f"{path} images")
    channels = images.shape[1] if images.ndim == 4 else 1
    if images.ndim not in (3, 4) or min(images.shape) < 1 or channels > MAX_CHANNELS:
        refuse_layout(path, f"has images of shape {images.shape}")
    if images.chunks is not None:
        check_compressed_size(images.shape[1:], f"{path} images")
        check_compressed_size(images.chunks, f"{path} images")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        refuse_layout(
            path,
            f"has labels of shape {labels.shape} and type {labels.dtype} beside"
            f" images of shape {images.shape}",
        )
    if labels.chunks is not None:
        check_compressed_size(labels.shape, f"{path} labels")
    return images, labels


def read_classes(file: Any, path: Path) -> tuple[str, ...]:
    """Read the names of the classes, in the order of their labels.

    Args:
        file: The open file.
        path: Its name, for messages.

    Raises:
        ImageError: The attribute is not there, or not a list of different names.
    """
    stored = file.attrs.get("classes")
    if not isinstance(stored, np.ndarray) or stored.ndim != 1 or not len(stored):
        refuse_layout(path, "has no list of names in the attribute classes")
    names = tuple(n.decode() if isinstance(n, bytes) else n for n in stored)
    if not all(isinstance(name, str) for name in names):
        refuse_layout(path, f"has the classes {names}, which are not all names")
    if len(set(names)) < len(names):
        refuse_layout(path, f"names a class twice: {list(names)}")
    return names
