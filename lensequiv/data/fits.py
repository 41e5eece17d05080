"""FITS images, read through astropy without trusting what headers claim."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from lensequiv.data.checks import (
    MAX_COMPRESSED_PIXELS,
    channel_axis,
    check_compressed_size,
    check_dtype,
)
from lensequiv.data.errors import ImageError
from lensequiv.data.stored import Loaded

# No compressor reaches more than deflate's 1032 bytes for one byte of file.
_LARGEST_COMPRESSION = 1032
_MAX_UNZIPPED = 8 * MAX_COMPRESSED_PIXELS
_PIECE = 2**20


def load_fits(path: Path, hdu: int | str | None) -> Loaded:
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
    with path.open("rb") as stream:
        try:
            from astropy.io import fits
        except ImportError as error:
            raise ImportError(
                f"reading {path} needs astropy, which comes with"
                " pip install 'lensequiv[fits]'"
            ) from error

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
    return Loaded(pixels)


def _fits_stream(stream: IO[bytes], path: Path) -> tuple[IO[bytes], int]:
    """Undo gzip if there is any; return the FITS stream and its length in bytes."""
    gzipped = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    if gzipped:
        with gzip.open(stream) as unzipped:
            content = io.BytesIO()
            # Piece by piece: `read` with a length sets that much memory aside.
            while piece := unzipped.read(_PIECE):
                content.write(piece)
                if content.tell() > _MAX_UNZIPPED:
                    raise ImageError.because(
                        path,
                        f"holds more than {_MAX_UNZIPPED} bytes once unzipped",
                        "a smaller file, or an uncompressed one",
                    )
        content.seek(0)
        stream = content
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
    shape = tuple(hdu.shape)
    claimed = math.prod(shape) * abs(hdu.header["BITPIX"]) // 8
    is_compressed = isinstance(hdu, compressed)
    if is_compressed:
        held = length * _LARGEST_COMPRESSION
    else:
        held = length - hdu.fileinfo()["datLoc"]
    if held < claimed:
        raise ImageError.because(
            path,
            f"can hold at most {held} bytes of pixels, fewer than its header claims",
            f"{claimed} bytes for shape {shape}: the file is truncated or damaged",
        )
    if is_compressed:
        check_compressed_size(shape, path)
