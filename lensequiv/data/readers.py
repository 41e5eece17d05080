"""Images from files of every format that lensequiv reads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lensequiv.data.checks import channel_axis, check_image
from lensequiv.data.errors import ImageError
from lensequiv.data.fits import load_fits
from lensequiv.data.hdf5 import load_hdf5
from lensequiv.data.npy import load_npy
from lensequiv.data.npz import load_npz
from lensequiv.data.pictures import load_picture

HDF5_EXTENSIONS = (".h5", ".hdf5", ".hdf")
_LOADERS: dict[str, Callable[[Path, int | str | None], np.ndarray]] = {
    ".npz": load_npz,
    **dict.fromkeys((".fits", ".fit", ".fts"), load_fits),
    **dict.fromkeys((".fits.gz", ".fit.gz", ".fts.gz"), load_fits),
    **dict.fromkeys(HDF5_EXTENSIONS, load_hdf5),
}
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_EXTENSIONS = (".npy", *_LOADERS, *_PICTURES)
_EXPECTED_FILES = f"files ending in {', '.join(_EXTENSIONS)}"


def read_image(
    path: str | os.PathLike[str], *, hdu: int | str | None = None
) -> np.ndarray:
    """Read one image from an NPY, NPZ, FITS, HDF5, PNG, JPEG or TIFF file.

    The file may hold (H, W), (C, H, W) or (H, W, C) with at most four channels, in
    any integer or real type, byte order and memory order. Three axes are read as
    (H, W, C) if the last has length 1 and the first has not, or if only the last is
    short enough for channels.

    Nothing in a file is ever executed. NPY files with a pickled pair of image and
    axion mass (DeepLenseSim) go through `lensequiv.data.unpickling`, which builds
    arrays and numbers and nothing else; see `read_image_and_mass`.

    Args:
        path: The file, upper and lower case alike: `.npy`; `.npz`; `.fits`, `.fit` or
            `.fts` with or without a further `.gz`; `.h5`, `.hdf5` or `.hdf`; `.png`,
            `.jpg`, `.jpeg`, `.tif` or `.tiff`, grey or RGB (what is taken of these is
            told at `lensequiv.data.pictures.load_picture`).
        hdu: Which image, where a file has several: number or name of the HDU in FITS,
            name of the array in NPZ and of the data set in HDF5. By default the first
            HDU that holds a 2-D or 3-D image; the only image in NPZ; `image_data`, or
            else the only image, in HDF5.

    Returns:
        The image, (C, H, W) float32 in native byte order and C order, writeable and
        sharing memory with nothing, in the unit of the file (grey levels of pictures
        are not scaled).

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: The extension is unknown; the file is damaged, truncated or of
            another kind than its name says; the array has another layout, a boolean,
            complex or string type, no element, pixels that are not finite in float32,
            or only equal pixels; a compressed image is larger than
            `lensequiv.data.checks.MAX_COMPRESSED_PIXELS`; a pickle holds anything but
            an image and a mass.
        ImportError: The file is FITS and astropy is not installed, or HDF5 and h5py.
    """
    return read_image_and_mass(path, hdu=hdu)[0]


def read_image_and_mass(
    path: str | os.PathLike[str], *, hdu: int | str | None = None
) -> tuple[np.ndarray, float | None]:
    """Read one image, and the axion mass beside it where there is one.

    DeepLenseSim stores the images of its class `axion` as pickled object arrays of
    image and mass. Every other file is read as by `read_image`.

    Args:
        path: As for `read_image`.
        hdu: As for `read_image`.

    Returns:
        The image, (C, H, W) float32 as from `read_image`, and the axion mass in eV,
        or None if the file holds an image alone.

    Raises:
        FileNotFoundError: As for `read_image`.
        ImageError: As for `read_image`; also if the mass is not a finite number.
        ImportError: As for `read_image`.
    """
    path = Path(path)
    extension = _extension(path)
    mass = None
    try:
        if extension == ".npy" or extension in _PICTURES:
            if hdu is not None:
                raise ImageError.because(
                    path,
                    f"has no HDUs, but hdu={hdu!r} was asked for",
                    "a FITS, NPZ or HDF5 file",
                )
            if extension == ".npy":
                stored, mass = load_npy(path)
            else:
                stored = load_picture(path)
        elif extension is not None:
            stored = _LOADERS[extension](path, hdu)
        else:
            path.stat()  # raises FileNotFoundError with the name of the file
            raise ImageError.because(
                path,
                "is a folder" if path.is_dir() else "has no readable extension",
                _EXPECTED_FILES,
            )
    except IsADirectoryError:
        raise ImageError.because(path, "is a folder", _EXPECTED_FILES) from None
    return as_float32(stored, path), mass


def as_float32(stored: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Bring an array of a valid layout to (C, H, W) float32, and check its pixels."""
    axis = channel_axis(stored.shape, path)
    stored = stored[None] if axis is None else np.moveaxis(stored, axis, 0)
    if stored.dtype == np.float32 and stored.flags.carray:
        image = stored
    else:
        with np.errstate(over="ignore"):  # overflow is found, and named, just below
            image = stored.astype(np.float32, order="C")
    check_image(image, path)
    return image


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List the readable image files of a folder and of the folders below it.

    Hidden files and folders (names that begin with a dot) are left out. Links are
    followed, each folder being visited once.

    Args:
        folder: The folder to search.

    Returns:
        The files in natural order: `2.npy` stands before `10.npy`.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: `folder` is a file.
        ImageError: No file has a readable extension.
    """
    folder = Path(folder)
    paths = []
    seen = {folder.resolve()}
    for parent, children, files in os.walk(folder, onerror=_raise, followlinks=True):
        here = Path(parent)
        paths += [here / file for file in files if not file.startswith(".")]
        visible = sorted(child for child in children if not child.startswith("."))
        children.clear()
        for child in visible:
            target = (here / child).resolve()
            if target not in seen:
                seen.add(target)
                children.append(child)
    paths = [path for path in paths if _extension(path) is not None]
    if not paths:
        raise ImageError.because(folder, "holds no image", _EXPECTED_FILES)
    return sorted(paths, key=lambda path: _natural(path.relative_to(folder)))


def _extension(path: Path) -> str | None:
    """Return the readable extension of a file, in lower case, or None."""
    extension = path.suffix.lower()
    if extension == ".gz":
        extension = "".join(path.suffixes[-2:]).lower()
    return extension if extension in _EXTENSIONS else None


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    """Sorting key that compares the digits in a path as numbers."""
    parts = [
        [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", p)]
        for p in path.parts
    ]
    return parts, str(path)


def _raise(error: OSError) -> None:
    """Let `os.walk` fail where it would skip a folder that it cannot open."""
    raise error
