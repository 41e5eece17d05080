"""Images from files and from arrays in memory."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lensequiv.data.checks import (
    MAX_CHANNELS,
    channel_axis,
    check_dtype,
    check_pixels,
)
from lensequiv.data.errors import ImageError
from lensequiv.data.formats import load_fits, load_npy

_FITS = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz")
_EXTENSIONS = (".npy", *_FITS)
_EXPECTED_FILES = f"files ending in {', '.join(_EXTENSIONS)}"
_ARRAY_LAYOUTS = (
    "images of shape (H, W), (H, W, 1), (N, H, W) or (N, C, H, W)"
    f" with at most {MAX_CHANNELS} channels"
)


@runtime_checkable
class SupportsArray(Protocol):
    """Anything that NumPy can turn into an array by the `__array__` protocol."""

    def __array__(self) -> np.ndarray:
        """Return the object as an array."""


def read_image(
    path: str | os.PathLike[str], *, hdu: int | str | None = None
) -> np.ndarray:
    """Read one image from an `.npy` or FITS file.

    The file may hold (H, W), (C, H, W) or (H, W, C) with at most four channels, in
    any integer or real type, byte order and memory order. Three axes are read as
    (H, W, C) if the last has length 1 and the first has not, or if only the last is
    short enough for channels. Files are never unpickled.

    Args:
        path: The file: `.npy`, or `.fits`, `.fit` or `.fts` with or without a
            further `.gz`; upper and lower case alike.
        hdu: For FITS files only: number or name of the HDU to read. By default the
            first that holds a 2-D or 3-D image.

    Returns:
        The image, (C, H, W) float32 in native byte order and C order, owning its
        memory, in the unit of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: The extension is unknown; the file is damaged, truncated or of
            another kind than its name says; the array has another layout, an object,
            boolean, complex or string type, no element, pixels that are not finite
            in float32, or only equal pixels.
        ImportError: The file is FITS and astropy is not installed.
    """
    path = Path(path)
    path.stat()  # raises FileNotFoundError with the name of the file
    extension = _extension(path)
    if path.is_dir() or extension is None:
        found = "is a folder" if path.is_dir() else "has no readable extension"
        raise ImageError.because(path, found, _EXPECTED_FILES)
    if extension in _FITS:
        stored = load_fits(path, hdu)
    elif hdu is None:
        stored = load_npy(path)
    else:
        raise ImageError.because(
            path, f"has no HDUs, but hdu={hdu!r} was asked for", "a FITS file"
        )
    axis = channel_axis(stored.shape, path)
    stored = stored[None] if axis is None else np.moveaxis(stored, axis, 0)
    with np.errstate(over="ignore"):  # overflow is found, and named, just below
        image = stored.astype(np.float32, order="C")
    check_pixels(torch.from_numpy(image)[None], path, indexed=False)
    return image


def as_images(x: Tensor | SupportsArray, *, name: str = "x") -> Tensor:
    """Bring one or more images in memory into the shape and type of the networks.

    With three axes, (H, W, 1) is assumed if the last axis has length 1 and the first
    has not, otherwise (N, H, W).

    Args:
        x: Tensor or array (NumPy, or anything with `__array__`) of shape (H, W),
            (H, W, 1), (N, H, W) or (N, C, H, W) with C at most 4; any integer or
            real type, byte order and strides; any flux unit.
        name: What to call `x` in error messages.

    Returns:
        Images, (N, C, H, W) float32 on the device of `x` (arrays: the CPU), in the
        unit of `x`. The memory is shared with `x` where no conversion is needed, and
        gradients flow back to a tensor.

    Raises:
        ImageError: `x` has another rank, no element, more than four channels, masked
            pixels, or a boolean, complex, string or object type; or one of the images
            is constant or holds pixels that are not finite in float32.
        TypeError: `x` is neither a tensor nor an array.
    """
    if isinstance(x, Tensor):
        tensor = _from_tensor(x, name)
    elif isinstance(x, SupportsArray):
        tensor = _from_array(x, name)
    else:
        raise TypeError(
            f"{name} is of type {type(x).__name__}; expected a tensor or an array"
        )
    shape = tuple(tensor.shape)
    if tensor.ndim not in (2, 3, 4):
        raise ImageError.because(
            name, f"is a {tensor.ndim}-D array of shape {shape}", _ARRAY_LAYOUTS
        )
    if tensor.numel() == 0:
        raise ImageError.because(name, f"is empty, of shape {shape}", _ARRAY_LAYOUTS)
    if tensor.ndim == 4 and shape[1] > MAX_CHANNELS:
        raise ImageError.because(
            name,
            f"is of shape {shape}, which means {shape[1]} channels",
            f"{_ARRAY_LAYOUTS} (channels last: pass x.movedim(-1, 1) or"
            " numpy.moveaxis(x, -1, 1))",
        )
    single = tensor.ndim == 2
    if tensor.ndim == 3 and shape[2] == 1 and shape[0] != 1:
        single, tensor = True, tensor[:, :, 0]
    if single:
        tensor = tensor[None]
    images = tensor if tensor.ndim == 4 else tensor[:, None]
    check_pixels(images, name, indexed=not single)
    return images


def _from_tensor(x: Tensor, name: str) -> Tensor:
    """Convert a tensor of real numbers to float32; its shape is not looked at."""
    plain = x.layout == torch.strided and not x.is_quantized
    if not plain or x.dtype.is_complex or x.dtype == torch.bool:
        found = x.dtype if plain else f"{x.dtype} in a sparse or quantized layout"
        raise ImageError.because(
            name,
            f"holds values of type {found}",
            "integers or real floating-point numbers in a dense tensor",
        )
    return x.to(torch.float32)


def _from_array(x: SupportsArray, name: str) -> Tensor:
    """Convert an array of real numbers to float32; its shape is not looked at."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ImageError.because(
            name,
            f"holds {np.ma.getmaskarray(x).sum()} masked pixels",
            "an array without a mask: fill those pixels first",
        )
    array = np.asarray(x)
    check_dtype(array.dtype, name)
    if min(array.strides, default=0) < 0:  # PyTorch refuses these, even on axes of 1
        array = array.copy()
    with np.errstate(over="ignore"):  # overflow is found, and named, by the caller
        return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))


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
    lowered = path.name.lower()
    return next((end for end in _EXTENSIONS if lowered.endswith(end)), None)


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
