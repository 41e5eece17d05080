"""Data sets of either form, by their path."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from lensequiv.data.errors import ImageError
from lensequiv.data.folder import ClassFolder
from lensequiv.data.hdf5_images import HDF5Images
from lensequiv.data.readers import HDF5_EXTENSIONS


def open_dataset(
    path: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
) -> ClassFolder | HDF5Images:
    """Open a data set, whichever of the two forms it has.

    Args:
        path: A folder of class folders, or an HDF5 file; `~` is the home folder.
        classes: As for `ClassFolder`; an HDF5 file must have exactly these, in this
            order.
        transform: Applied to each image, (C, H, W) float32, by `__getitem__`.
        on_error: As for `ClassFolder`. An HDF5 file is one file, and damage in it
            always raises: "skip" is refused.
        plane: As for `ClassFolder`; an HDF5 file of this kind has one set of images, so
            any other value than None is refused.
        hdu: As for `ClassFolder`, and `plane`.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: `path` does not exist.
        ImageError: As for `ClassFolder` and `HDF5Images`; or `path` is a file of
            another kind, or an HDF5 file with other classes.
        ImportError: `path` is an HDF5 file and h5py is not installed.
        ValueError: `on_error` is "skip", or `plane` or `hdu` is given, and `path` is an
            HDF5 file; as for `ClassFolder`.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; expected a folder of class folders, or an HDF5 "
            "file"
        )
    if path.is_dir():
        return ClassFolder(path, classes, transform, on_error, plane=plane, hdu=hdu)
    if path.suffix.lower() not in HDF5_EXTENSIONS:
        raise ImageError.because(
            path,
            "is neither a folder nor an HDF5 file",
            f"a folder of class folders, or a file ending in one of {HDF5_EXTENSIONS}",
        )
    if on_error != "raise":
        raise ValueError(
            f"on_error is {on_error!r}, but {path} is one HDF5 file; expected 'raise'"
        )
    for keyword, value in (("plane", plane), ("hdu", hdu)):
        if value is not None:
            raise ValueError(
                f"{keyword} is {value!r}, but {path} is one HDF5 file with the data set"
                " `images`; expected None"
            )
    data = HDF5Images(path, transform)
    if classes is not None and tuple(classes) != data.classes:
        raise ImageError.because(
            path, f"has the classes {list(data.classes)}", f"{list(classes)}"
        )
    return data
