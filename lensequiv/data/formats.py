"""Decoding of the two file formats, without trusting what their headers claim."""

from __future__ import annotations

import gzip
import io
import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from lensequiv.data.checks import channel_axis, check_dtype
from lensequiv.data.errors import ImageError

# No compressor reaches more than deflate's 1032 bytes for one byte of file.
_LARGEST_COMPRESSION = 1032


def load_npy(path: Path) -> np.ndarray:
    """Read an `.npy` file that holds one image.

    Rank, type and size are checked against the header before any pixel is read, so
    a false header costs no memory, and nothing is ever unpickled.

    Args:
        path: The file.

    Returns:
        The array as stored: (H, W), (C, H, W) or (H, W, C), any integer or real
        type and byte order, read-only.

    Raises:
        ImageError: The file is not an NPY file, is shorter than its header claims,
            or holds anything but one image.
        OSError: The file cannot be opened or read.
    """
    with path.open("rb") as stream:
        shape, fortran_order, dtype = _npy_header(stream, path)
        check_dtype(dtype, path)
        channel_axis(shape, path)
        claimed = math.prod(shape) * dtype.itemsize
        held = os.fstat(stream.fileno()).st_size - stream.tell()
        if held < claimed:
            raise ImageError.because(
                path,
                f"holds {held} bytes of pixels, fewer than its header claims",
                f"{claimed} bytes for shape {shape} and type {dtype}: the file is"
                " truncated or damaged",
            )
        pixels = np.frombuffer(stream.read(claimed), dtype=dtype)
    return pixels.reshape(shape, order="F" if fortran_order else "C")


def _npy_header(
    stream: IO[bytes], path: Path
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, Fortran order and type, leaving the stream at the first pixel."""
    expected = "an array written by numpy.save"
    start = stream.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        found = f"begins with {start!r}" if start else "is an empty file"
        raise ImageError.because(path, f"is not an NPY file: it {found}", expected)
    stream.seek(0)
    try:
        version = np.lib.format.read_magic(stream)
        # Version 3.0 exists for structured types alone, which are never images.
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except OSError:
        raise
    except Exception as error:  # a damaged header fails in any step of its parsing
        raise ImageError.because(
            path, f"has a damaged NPY header ({error})", expected
        ) from error
    major, minor = version
    raise ImageError.because(
        path, f"is an NPY file of version {major}.{minor}", "version 1.0 or 2.0"
    )


def load_fits(path: Path, hdu: int | str | None) -> np.ndarray:
    """Read one image from a FITS file, plain or gzipped.

    BZERO and BSCALE are applied and blank integer pixels become NaN, as astropy
    does it.

    Args:
        path: The file; whether it is gzipped is read from its content.
        hdu: Number or name of the HDU; None for the first that holds 2-D or 3-D
            image data.

    Returns:
        The array: (H, W), (C, H, W) or (H, W, C), any integer or real type and byte
        order.

    Raises:
        ImageError: The file is not FITS, is shorter than its headers claim, has no
            such HDU, or the HDU holds anything but one image.
        ImportError: astropy is not installed.
        OSError: The file cannot be opened.
    """
    try:
        from astropy.io import fits
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs astropy, which comes with"
            " pip install 'lensequiv[fits]'"
        ) from error

    with path.open("rb") as stream:
        try:
            source, length = _fits_stream(stream, path)
            with fits.open(source, mode="readonly", memmap=False) as hdus:
                chosen = _choose_hdu(hdus, hdu, path)
                channel_axis(chosen.shape, path)
                _check_fits_size(chosen, length, path, fits.CompImageHDU)
                pixels = np.asarray(chosen.data)
        except ImageError:
            raise
        except Exception as error:  # astropy has no common class for damaged files
            raise ImageError.because(
                path,
                f"cannot be decoded ({type(error).__name__}: {error})",
                "a complete FITS file",
            ) from error
    check_dtype(pixels.dtype, path)
    return pixels


def _fits_stream(stream: IO[bytes], path: Path) -> tuple[IO[bytes], int]:
    """Undo gzip if there is any; return the FITS stream and its length in bytes."""
    gzipped = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    if gzipped:
        with gzip.open(stream) as unzipped:
            stream = io.BytesIO(unzipped.read())
    start = stream.read(9)
    if not start.startswith(b"SIMPLE"):
        found = f"begins with {start!r}" if start else "is empty"
        raise ImageError.because(
            path, f"is not a FITS file: its content {found}", "the keyword SIMPLE"
        )
    length = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return stream, length


def _choose_hdu(hdus: Any, hdu: int | str | None, path: Path) -> Any:
    """Return the image HDU asked for, or the first with 2-D or 3-D data."""
    if hdu is None:
        for candidate in hdus:
            if candidate.is_image and len(candidate.shape) in (2, 3):
                return candidate
        raise ImageError.because(
            path,
            f"holds no 2-D or 3-D image ({_describe(hdus)})",
            "an image in at least one HDU",
        )
    try:
        chosen = hdus[hdu]
    except (KeyError, IndexError) as error:
        raise ImageError.because(
            path, f"has no HDU {hdu!r}", f"one of {_describe(hdus)}"
        ) from error
    if not chosen.is_image or not chosen.shape:
        raise ImageError.because(
            path,
            f"holds no image in HDU {hdu!r}",
            f"the HDU of an image, out of {_describe(hdus)}",
        )
    return chosen


def _describe(hdus: Any) -> str:
    """List the HDUs of a file: number, name and shape."""
    parts = []
    for number, hdu in enumerate(hdus):
        content = (hdu.shape or "no data") if hdu.is_image else "not an image"
        parts.append(f"{number} {hdu.name or 'unnamed'}: {content}")
    return ", ".join(parts)


def _check_fits_size(hdu: Any, length: int, path: Path, compressed: type) -> None:
    """Compare the size that a header claims with the length of the file, in bytes."""
    claimed = math.prod(hdu.shape) * abs(hdu.header["BITPIX"]) // 8
    if isinstance(hdu, compressed):
        held = length * _LARGEST_COMPRESSION
    else:
        held = length - hdu.fileinfo()["datLoc"]
    if held < claimed:
        raise ImageError.because(
            path,
            f"can hold at most {held} bytes of pixels, fewer than its header claims",
            f"{claimed} bytes for shape {hdu.shape}: the file is truncated or damaged",
        )
