"""Single images in HDF5 files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lensequiv.data.checks import channel_axis, check_compressed_size, check_dtype
from lensequiv.data.errors import ImageError

_DEFAULT_NAME = "image_data"  # lenstronomy's


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading, and turn h5py's errors into ours.

    Args:
        path: The file.

    Yields:
        The `h5py.File`.

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: The file is not HDF5, or reading it failed.
        ImportError: h5py is not installed.
    """
    with path.open("rb"):  # the errors of a missing or unreadable file, unchanged
        pass
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs h5py, which comes with pip install 'lensequiv[hdf5]'"
        ) from error

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (ImageError, ImportError):
        raise
    except Exception as error:  # h5py raises whatever fits the message of HDF5
        raise ImageError.because(
            path,
            f"cannot be decoded ({type(error).__name__}: {error})",
            "a complete HDF5 file",
        ) from error


def datasets(file: Any) -> dict[str, Any]:
    """List the data sets of a file by their full name.

    Links to other files are not followed, and data sets whose pixels lie in other
    files are left out: an image file has no business with the rest of the disk.

    Args:
        file: The `h5py.File`.

    Returns:
        The `h5py.Dataset` objects, in alphabetical order.
    """
    import h5py

    found = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual:
            found[name] = item

    file.visititems(visit)
    return found


def check_storage(dataset: Any, path: Path) -> None:
    """Compare the size that a data set claims with what the file can hold.

    Args:
        dataset: The `h5py.Dataset`, of plain numbers.
        path: Its file, named in the error message.

    Raises:
        ImageError: An uncompressed data set is larger than the file, or never written.
    """
    if dataset.chunks is not None:
        return
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    held = min(path.stat().st_size, dataset.id.get_storage_size())
    if held < claimed:
        raise ImageError.because(
            path,
            f"can hold at most {held} bytes of {dataset.name}, fewer than it claims",
            f"{claimed} bytes for shape {dataset.shape} and type {dataset.dtype}: the"
            " file is truncated or damaged, or its pixels were never written",
        )


def load_hdf5(path: Path, name: int | str | None) -> np.ndarray:
    """Read one image from an HDF5 file.

    Args:
        path: The file.
        name: Name of the data set; None for `image_data`, as lenstronomy has it, or
            else the only data set that is an image.

    Returns:
        The array as stored: (H, W), (C, H, W) or (H, W, C), any integer or real
        type and byte order.

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: The file is damaged, has no such data set or not exactly one
            image, or the data set is anything but one image.
        ImportError: h5py is not installed.
    """
    with opened(path) as file:
        found = datasets(file)
        chosen = _choose(found, name, path)
        check_dtype(chosen.dtype, path)
        channel_axis(chosen.shape, path)
        if chosen.chunks is not None:
            check_compressed_size(chosen.shape, path)
        check_storage(chosen, path)
        return np.asarray(chosen[()])


def _choose(found: dict[str, Any], name: int | str | None, path: Path) -> Any:
    """Return the data set asked for, `image_data`, or the only image."""
    listed = ", ".join(f"{key}: {d.dtype} {d.shape}" for key, d in found.items())
    listed = listed or "none"
    if name is not None:
        if str(name).strip("/") not in found:
            raise ImageError.because(
                path, f"has no data set {name!r}", f"one of its data sets ({listed})"
            )
        return found[str(name).strip("/")]
    if _DEFAULT_NAME in found:
        return found[_DEFAULT_NAME]
    images = [key for key, dataset in found.items() if _is_image(dataset)]
    if len(images) != 1:
        hint = (
            ": open it with lensequiv.data.HDF5Images"
            if {"images", "labels"} <= set(found)
            else ""
        )
        raise ImageError.because(
            path,
            f"holds {len(images)} data sets that are images (data sets: {listed})",
            f"exactly one, one named {_DEFAULT_NAME}, or the name of one as hdu={hint}",
        )
    return found[images[0]]


def _is_image(dataset: Any) -> bool:
    """Whether a data set has the type and layout of an image."""
    try:
        check_dtype(dataset.dtype, "")
        channel_axis(dataset.shape or (), "")
    except ImageError:
        return False
    return True
