"""Images from files of every format that lensequiv reads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lensequiv.data.errors import ImageError
from lensequiv.data.fits import load_fits
from lensequiv.data.hdf5 import load_hdf5, open_hdf5_stack
from lensequiv.data.margins import without_margin
from lensequiv.data.npy import load_npy
from lensequiv.data.npz import load_npz, open_npz_stack
from lensequiv.data.pictures import load_picture
from lensequiv.data.pixel_scale import folder_pixel_scale
from lensequiv.data.stacks import ImageStack
from lensequiv.data.stored import (
    Loaded,
    StoredImage,
    as_float32,
    channels_first,
    checked_float32,
)

_FITS = (".fits", ".fit", ".fts")
_PACKED = (".gz", ".bz2", ".xz")
HDF5_EXTENSIONS = (".h5", ".hdf5", ".hdf")
_STACKS: dict[str, Callable[[Path, int | str | None], ImageStack | None]] = {
    ".npz": open_npz_stack,
    **dict.fromkeys(HDF5_EXTENSIONS, open_hdf5_stack),
}
_LOADERS: dict[str, Callable[[Path, int | str | None], Loaded]] = {
    ".npz": load_npz,
    **dict.fromkeys(_FITS, load_fits),
    **{fits + packed: load_fits for fits in _FITS for packed in (*_PACKED, ".fz")},
    ".fz": load_fits,
    **dict.fromkeys(HDF5_EXTENSIONS, load_hdf5),
}
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_EXTENSIONS = (".npy", *_LOADERS, *_PICTURES)
_PLAIN = [e for e in _EXTENSIONS if not e.endswith((*_PACKED, ".fz"))]
EXPECTED_FILES = (
    f"files ending in {', '.join(_PLAIN)}; those of FITS also with "
    f"{', '.join(_PACKED)} or .fz behind"
)


def read_image(
    path: str | os.PathLike[str],
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
) -> np.ndarray:
    """Read one image from an NPY, NPZ, FITS, HDF5, PNG, JPEG or TIFF file.

    The file may hold (H, W), (C, H, W) or (H, W, C) with at most 16 channels, in any
    integer or real type, byte order and memory order. Which of three axes is that of
    the channels is told at `lensequiv.data.checks.channel_axis`.

    Nothing in a file is ever executed. NPY files with a pickled pair of image and
    axion mass (DeepLenseSim) go through `lensequiv.data.unpickling`, which builds
    arrays and numbers and nothing else; see `read_image_and_mass`.

    Where a mask, data-quality plane or weight map beside the image flags pixels of it,
    a warning says so; `read_stored` tells which plane, and how many pixels.

    Args:
        path: The file, upper and lower case alike: `.npy`; `.npz`; `.fits`, `.fit` or
            `.fts` with or without a further `.gz`, `.bz2`, `.xz` or `.fz`; `.fz`;
            `.h5`, `.hdf5` or `.hdf`; `.png`, `.jpg`, `.jpeg`, `.tif` or `.tiff`, grey
            or RGB (what is taken of these is told at
            `lensequiv.data.pictures.load_picture`).
        plane: Which image, where a file has several: in NPZ and HDF5 the name of the
            array or data set; in FITS the number of the HDU (negative ones count from
            the end), its name, or both name and version ("SCI,2"), a number also as
            text. By default the only plane that is an image by its name (SCI,
            DATA, IMAGE and the like), or else the only one whose name says nothing
            else; masks, weights, errors, PSFs and the like are never taken unless they
            are asked for (see `lensequiv.data.planes`).
        hdu: The same for FITS files, in their own word.

    Returns:
        The image, (C, H, W) float32 in native byte order and C order, writeable and
        sharing memory with nothing, in the unit of the file (grey levels of pictures
        are not scaled).

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: The extension is unknown; the file is damaged, truncated or of
            another kind than its name says; several planes could be the image, or
            none (the message lists them); it holds a stack of images (see
            `open_stack`); the array has another layout, a boolean,
            complex or string type, no element, pixels that are not finite in float32,
            or only equal pixels; a compressed image is larger than
            `lensequiv.data.checks.MAX_COMPRESSED_PIXELS`; a pickle holds anything but
            an image and a mass.
        ImportError: The file is FITS and astropy is not installed, or HDF5 and h5py.
    """
    return _read(Path(path), plane, hdu)[0]


def read_image_and_mass(
    path: str | os.PathLike[str],
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
) -> tuple[np.ndarray, float | None]:
    """Read one image, and the axion mass beside it where there is one.

    DeepLenseSim stores the images of its class `axion` as pickled object arrays of
    image and mass. Every other file is read as by `read_image`.

    Args:
        path: As for `read_image`.
        plane: As for `read_image`.
        hdu: As for `read_image`.

    Returns:
        The image, (C, H, W) float32 as from `read_image`, and the axion mass in eV,
        or None if the file holds an image alone.

    Raises:
        FileNotFoundError: As for `read_image`.
        ImageError: As for `read_image`; also if the mass is not a finite number.
        ImportError: As for `read_image`.
    """
    return _read(Path(path), plane, hdu)


def read_stored(
    path: str | os.PathLike[str],
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
    index: int | None = None,
    trim: bool = False,
) -> StoredImage:
    """Read one image with what its file says about it.

    Args:
        path: As for `read_image`.
        plane: As for `read_image`.
        hdu: As for `read_image`.
        index: Which image of a file that holds a stack (HDF5 and NPZ); to read many of
            them use `open_stack`, which opens the file once.
        trim: Whether to cut away a margin that holds NaN, instead of refusing the
            image: as many rows at the top as at the bottom, as many columns on the left
            as on the right, and no more than half of either; a note says so. Not of
            images in a stack.

    Returns:
        The image with pixel scale, plane and notes.

    Raises:
        FileNotFoundError: As for `read_image`.
        ImageError: As for `read_image`; or `index` is given and the file holds no
            stack, or one without this image.
        ImportError: As for `read_image`.
    """
    path = Path(path)
    if index is not None:
        stack = open_stack(path, plane=plane, hdu=hdu)
        if stack is None:
            raise ImageError.because(
                path,
                f"holds no stack of images, but index={index} was asked for",
                "an HDF5 or NPZ file with an array (N, H, W) or (N, C, H, W)",
            )
        return stack.read(index)
    loaded = _load(path, plane_asked_for([path], plane, hdu))
    scale = loaded.pixel_scale
    if path.suffix == ".npy":
        scale = folder_pixel_scale(path)
    pixels, top, left = channels_first(loaded.pixels, path), 0, 0
    cut: tuple[str, ...] = ()
    if trim:
        pixels, top, left, cut = without_margin(pixels)
    return StoredImage(
        checked_float32(pixels, path),
        loaded.axion_mass,
        scale,
        loaded.plane,
        None,
        loaded.flags + loaded.notes + cut,
        (top, left),
    )


def open_stack(
    path: str | os.PathLike[str],
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
) -> ImageStack | None:
    """Open a file that holds many images in one array, as `lensequiv simulate` writes.

    Args:
        path: A file; only HDF5 and NPZ files are opened.
        plane: Name of the array; by default chosen as by `read_image`.
        hdu: None: these files have no HDUs.

    Returns:
        The stack, or None if the file is of another format or holds a single image
        (which `read_stored` reads).

    Raises:
        FileNotFoundError: As for `read_image`.
        ImageError: The file is damaged, or it is not clear which array is meant.
        ImportError: The file is HDF5, and h5py is not installed.
    """
    path = Path(path)
    opener = _STACKS.get(extension_of(path) or "")
    plane = plane_asked_for([path], plane, hdu)
    return None if opener is None or path.is_dir() else opener(path, plane)


def _read(
    path: Path, plane: int | str | None, hdu: int | str | None
) -> tuple[np.ndarray, float | None]:
    """As `read_image_and_mass`; a warning names the line that called the caller."""
    loaded = _load(path, plane_asked_for([path], plane, hdu))
    if loaded.flags:
        # The same for all files of a kind, so that a data set warns once.
        warnings.warn(
            "beside the image lie planes that flag pixels and that read_image does not"
            " apply: lensequiv.data.read_stored(path).notes tells which, and how many",
            stacklevel=3,
        )
    return as_float32(loaded.pixels, path), loaded.axion_mass


def _load(path: Path, plane: int | str | None) -> Loaded:
    """Read a file by its extension; the layout is valid, the pixels are unchecked."""
    extension = extension_of(path)
    try:
        if extension == ".npy" or extension in _PICTURES:
            if plane is not None:
                raise ImageError.because(
                    path,
                    f"has one image alone, but plane {plane!r} was asked for",
                    "a FITS, NPZ or HDF5 file",
                )
            if extension == ".npy":
                return load_npy(path)
            return Loaded(load_picture(path))
        if extension is not None:
            return _LOADERS[extension](path, plane)
        path.stat()  # raises FileNotFoundError with the name of the file
        raise ImageError.because(
            path,
            "is a folder" if path.is_dir() else "has no readable extension",
            EXPECTED_FILES,
        )
    except IsADirectoryError:
        raise ImageError.because(path, "is a folder", EXPECTED_FILES) from None


def plane_asked_for(
    paths: Iterable[Path], plane: int | str | None, hdu: int | str | None
) -> int | str | None:
    """The plane to read of files, whichever of its two words was used.

    Args:
        paths: The files.
        plane: As for `read_image`.
        hdu: As for `read_image`.

    Returns:
        A number or text; name and version as astropy has them, ("SCI", 2), as text.

    Raises:
        ImageError: `hdu` is given, and one of the files is an NPZ or HDF5 file.
        TypeError: It is neither a number nor text.
        ValueError: Both are given.
    """
    if hdu is None:
        return _checked("plane", plane)
    if plane is not None:
        raise ValueError(f"plane={plane!r} and hdu={hdu!r}: expected one of them")
    hdu = _checked("hdu", hdu)
    for path in paths:
        if extension_of(path) in _STACKS:
            raise ImageError.because(
                path,
                f"has no HDUs, but hdu={hdu!r} was asked for",
                f"plane={hdu!r}, which names arrays and data sets, too",
            )
    return hdu


def _checked(keyword: str, value: Any) -> int | str | None:
    """See `plane_asked_for`."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, list | tuple) and len(value) == 2:
        name, version = value
        if isinstance(name, str):
            return f"{name},{version}"
    raise TypeError(
        f"{keyword} is {value!r:.80}; expected a number, a name or, as text, both "
        "(SCI,2)"
    )


def extension_of(path: Path) -> str | None:
    """Return the readable extension of a file, in lower case, or None."""
    extension = path.suffix.lower()
    if extension in _PACKED:
        extension = "".join(path.suffixes[-2:]).lower()
    return extension if extension in _EXTENSIONS else None


def is_fits(path: Path) -> bool:
    """Whether a file is read as FITS, by its extension."""
    return _LOADERS.get(extension_of(path) or "") is load_fits
