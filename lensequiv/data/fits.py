"""FITS images, read through astropy without trusting what headers claim."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from lensequiv.data.checks import (
    channel_axis,
    check_compressed_size,
    check_dtype,
)
from lensequiv.data.decompress import unpacked
from lensequiv.data.errors import ImageError
from lensequiv.data.fits_cards import Value, read_cards
from lensequiv.data.fits_planes import beside, choose_hdu, image_shape, label
from lensequiv.data.fits_single import Single, read_single
from lensequiv.data.flags import flag_notes, only_two_values
from lensequiv.data.pixel_scale import SCALE_KEYWORDS, header_pixel_scale
from lensequiv.data.stored import Loaded

# No compressor reaches more than deflate's 1032 bytes for one byte of file.
_LARGEST_COMPRESSION = 1032
_SCALING = ("BSCALE", "BZERO", "BLANK", "ZBLANK")
_KEYWORDS = frozenset(word.ljust(8) for word in (*SCALE_KEYWORDS, *_SCALING, "BITPIX"))


def load_fits(path: Path, hdu: int | str | None) -> Loaded:
    """Read one image from a FITS file, plain, fpacked or compressed as a whole.

    BZERO and BSCALE are applied, and blank integer pixels become NaN (astropy
    overlooks those of unsigned types, and BLANK = 0).

    Args:
        path: The file; how it is compressed is read from its content.
        hdu: Which HDU, see `lensequiv.data.fits_planes.choose_hdu`.

    Returns:
        The image as stored, its HDU, the pixel scale (see
        `lensequiv.data.pixel_scale`), and notes on it and on planes that flag pixels
        (see `lensequiv.data.flags`).

    Raises:
        ImageError: The file is not FITS, is shorter than its headers claim, has no
            such HDU or not exactly one that can be the image, the HDU holds anything
            but one image, or BSCALE, BZERO or BLANK is no number.
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
            source, length = fits_stream(stream, path)
            single = read_single(source, length) if hdu is None else None
            if single is not None:
                return _loaded(source, single, path)
            source.seek(0)
            options = {"memmap": False, "lazy_load_hdus": True, "uint": True}
            with fits.open(source, mode="readonly", **options) as hdus:
                chosen, others = choose_hdu(hdus, hdu, length, path)
                shape = image_shape(chosen.shape)
                axis = channel_axis(shape, path)
                cards = _cards(source, chosen)
                _check_fits_size(chosen, length, path, cards.get("BITPIX"))
                blank = _check_scaling(cards, chosen, path)
                headers = [cards]
                if _tells_of(others[0], chosen):
                    headers.append(_cards(source, others[0]))
                scale, notes = header_pixel_scale(headers)
                plane = label(chosen, others)
                flags: tuple[str, ...] = ()
                if blank is None:
                    pixels = np.asarray(chosen.data)
                else:
                    pixels = _with_blanks(source, others.index(chosen), blank, cards)
                if len(others) > 1:
                    first = 0 if axis == 2 else -2
                    size = shape[first], shape[first + 1]
                    planes = beside(others, lambda h: _check_fits_size(h, length, path))
                    image = planes.pop(others.index(chosen))
                    flags = flag_notes(image, planes, size)
        except ImageError:
            raise
        except Exception as error:  # astropy has no common class for damaged files
            raise ImageError.because(
                path,
                f"cannot be decoded ({type(error).__name__}: {error})",
                "a complete FITS file",
            ) from error
    check_dtype(pixels.dtype, path)
    pixels = pixels.reshape(shape)
    if hdu is None:
        notes += only_two_values(pixels)
    return Loaded(pixels, None, scale, plane, notes, flags)


def _loaded(source: IO[bytes], single: Single, path: Path) -> Loaded:
    """The one image of a file, with what its header says of it."""
    pixels = single.pixels
    channel_axis(pixels.shape, path)
    cards = read_cards(source, 0, single.start, _KEYWORDS)
    scale, notes = header_pixel_scale([cards])
    return Loaded(
        pixels, None, scale, "PRIMARY", notes + only_two_values(pixels), flags=()
    )


def _tells_of(primary: Any, chosen: Any) -> bool:
    """Whether the primary header can tell the scale of an image in an extension.

    A primary HDU with an image of another size, such as a PSF, tells of that image.
    """
    return chosen is not primary and (primary.shape or chosen.shape) == chosen.shape


def _cards(source: IO[bytes], hdu: Any) -> dict[str, Value]:
    """The keywords of a header that are looked at here."""
    place = hdu.fileinfo()
    return read_cards(source, place["hdrLoc"], place["datLoc"], _KEYWORDS)


def fits_stream(stream: IO[bytes], path: Path) -> tuple[IO[bytes], int]:
    """Undo compression if there is any; return the FITS stream and its length."""
    stream = unpacked(stream, path)
    start = stream.read(9)
    if not start.startswith(b"SIMPLE"):
        found = f"begins with {start!r}" if start else "is empty"
        raise ImageError.because(
            path, f"is not a FITS file: its content {found}", "the keyword SIMPLE"
        )
    length = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return stream, length


def _check_scaling(cards: dict[str, Value], hdu: Any, path: Path) -> int | None:
    """Refuse scaling that is no number; return BLANK where integers have one."""
    blank = cards.get("BLANK", cards.get("ZBLANK", 0.5))  # no integer is equal to 0.5
    if blank != 0.5 and hdu.header["BITPIX"] < 0:
        blank = 0.5  # of other images, it means nothing
    scale, zero = cards.get("BSCALE", 1.0), cards.get("BZERO", 0.0)
    for key, value in (("BSCALE", scale), ("BZERO", zero), ("BLANK", blank)):
        if type(value) is not float or not math.isfinite(value):
            raise ImageError.because(
                path, f"has {key} = {value!r} in its header", "a number"
            )
    return int(blank) if isinstance(blank, float) and blank.is_integer() else None


def _with_blanks(
    source: IO[bytes], number: int, blank: int, cards: dict[str, Value]
) -> np.ndarray:
    """Integer pixels, scaled, and NaN where they have the value `blank`: float64."""
    from astropy.io import fits

    scale, zero = float(cards.get("BSCALE", 1)), float(cards.get("BZERO", 0))
    source.seek(0)
    options = {"memmap": False, "do_not_scale_image_data": True}
    with fits.open(source, mode="readonly", **options) as hdus:
        stored = np.asarray(hdus[number].data)
        pixels = stored.astype(np.float64) * scale + zero
        pixels[stored == blank] = np.nan
    return pixels


def _check_fits_size(
    hdu: Any, length: int, path: Path, bitpix: Value | None = None
) -> None:
    """Compare the size that a header claims with the length of the file, in bytes."""
    from astropy.io import fits

    shape = tuple(hdu.shape)
    is_compressed = isinstance(hdu, fits.CompImageHDU)
    if is_compressed or not isinstance(bitpix, float):
        bitpix = hdu.header["BITPIX"]  # takes astropy long for the first keyword
    claimed = math.prod(shape) * abs(int(bitpix)) // 8
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
