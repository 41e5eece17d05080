"""Single images, and stacks of them, in HDF5 files."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lensequiv.data.checks import channel_axis, check_compressed_size
from lensequiv.data.errors import ImageError
from lensequiv.data.flags import (
    Beside,
    flag_notes,
    only_two_values,
    unread_flag_notes,
)
from lensequiv.data.named_arrays import Described, choose_array
from lensequiv.data.pixel_scale import named_pixel_scale
from lensequiv.data.stacks import ImageStack, not_one_image
from lensequiv.data.stored import Loaded

NO_DATA = ("_FillValue", "missing_value")
"""Attributes of netCDF that name the values of pixels without data."""


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


def load_hdf5(path: Path, plane: int | str | None) -> Loaded:
    """Read one image from an HDF5 file.

    Args:
        path: The file.
        plane: Name of the data set; None to choose by name and shape, see
            `lensequiv.data.named_arrays.choose_array`.

    Returns:
        The image as stored, its data set and the pixel scale.

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: The file is damaged, has no such data set or not exactly one that
            can be the image, or the data set is anything but one image.
        ImportError: h5py is not installed.
    """
    with opened(path) as file:
        found = datasets(file)
        arrays = _described(found)
        name, stacked = choose_array(arrays, _name(plane), path, "data set")
        if stacked:
            raise not_one_image(path, name, arrays[name].shape)
        pixels = _read(found[name], path)
        flags: tuple[str, ...] = ()
        if len(found) > 1:
            planes = {
                key: Beside(
                    key, key, 1, arrays[key].shape, functools.partial(_read, item, path)
                )
                for key, item in found.items()
            }
            axis = channel_axis(pixels.shape, path)
            size = pixels.shape[:2] if axis == 2 else pixels.shape[-2:]
            flags = flag_notes(planes.pop(name), planes.values(), size)
        return Loaded(
            without_fill(pixels, _attributes(found[name]), path),
            pixel_scale=_pixel_scale(file, name, found, arrays),
            plane=name,
            notes=only_two_values(pixels) if plane is None else (),
            flags=flags,
        )


def open_hdf5_stack(path: Path, plane: int | str | None) -> ImageStack | None:
    """Open the stack of images in an HDF5 file.

    Args:
        path: The file.
        plane: As for `load_hdf5`.

    Returns:
        The stack; None if the file holds one image.

    Raises:
        FileNotFoundError: As `load_hdf5`.
        ImageError: As `load_hdf5`.
        ImportError: As `load_hdf5`.
    """
    with opened(path) as file:
        found = datasets(file)
        arrays = _described(found)
        name, stacked = choose_array(arrays, _name(plane), path, "data set")
        if not stacked:
            return None
        dataset, shape = found[name], arrays[name].shape
        if dataset.chunks is not None:
            check_compressed_size(shape[1:], path)
            check_compressed_size(dataset.chunks, path)
        check_storage(dataset, path)
        scale = _pixel_scale(file, name, found, arrays)
        alike = [key for key, a in arrays.items() if a.shape[-2:] == shape[-2:]]

        def rows(start: int, stop: int) -> np.ndarray:
            with opened(path) as file:  # anew: nothing stays open between two calls
                dataset = file[name]
                pixels = dataset[start:stop]
                return without_fill(pixels, _attributes(dataset), path)

        return ImageStack(
            path,
            name,
            shape,
            arrays[name].dtype.itemsize,
            rows,
            scale,
            unread_flag_notes(other for other in alike if other != name),
        )


def without_fill(
    pixels: np.ndarray, attributes: Mapping[str, Any], path: Path
) -> np.ndarray:
    """Put NaN where netCDF's conventions say that there is no data.

    Args:
        pixels: Any integer or real type.
        attributes: Of the data set; `_FillValue` and `missing_value` are looked at.
        path: File named in the error message.

    Returns:
        The pixels as they are if none has such a value, else float64.

    Raises:
        ImageError: Such an attribute does not hold numbers.
    """
    blank = np.False_
    for name in NO_DATA:
        if name in attributes:
            values = np.ravel(attributes[name])
            if values.dtype.kind not in "iuf":
                raise ImageError.because(
                    path, f"has {name} of type {values.dtype}", "a number"
                )
            for value in values:
                blank = blank | (pixels == value)
    return np.where(blank, np.nan, pixels.astype(np.float64)) if blank.any() else pixels


def _read(dataset: Any, path: Path) -> np.ndarray:
    """Read a data set, within the limits of what the file can hold."""
    if dataset.chunks is not None:
        check_compressed_size(dataset.shape, path)
    check_storage(dataset, path)
    return np.asarray(dataset[()])


def _attributes(item: Any) -> Mapping[str, Any]:
    """The attributes of a data set, group or file; it takes h5py long to find none."""
    import h5py

    return item.attrs if h5py.h5a.get_num_attrs(item.id) else {}


def _described(found: Mapping[str, Any]) -> dict[str, Described]:
    """Shapes and types, asked for once: h5py takes long to tell."""
    return {name: Described(d.shape or (), d.dtype) for name, d in found.items()}


def _pixel_scale(
    file: Any, name: str, found: Mapping[str, Any], arrays: Mapping[str, Described]
) -> float | None:
    """The scale by attributes, or by small data sets beside the image."""
    group = name.rpartition("/")[0]
    small = {
        other: found[other][()]
        for other, array in arrays.items()
        if other.rpartition("/")[0] in (group, "")
        and array.shape in ((), (1,), (2, 2))
        and not array.dtype.hasobject
    }
    places = [_attributes(found[name]), _attributes(file), small]
    if group:
        places.insert(1, _attributes(file[group]))
    for values in places:
        scale = named_pixel_scale(values)
        if scale is not None:
            return scale
    return None


def _name(plane: int | str | None) -> str | None:
    """The name of a data set as `datasets` has it."""
    return None if plane is None else str(plane).strip("/")
