"""PNG, JPEG and TIFF pictures, read through Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lensequiv.data.checks import check_compressed_size
from lensequiv.data.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_GREY = ("L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ACCEPTED = "grey (8, 16 or 32 bits, or float) or RGB with 8 bits a colour"
# Numbers of the TIFF tags that are looked at.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_GDAL_NODATA = 42113


def load_picture(path: Path) -> np.ndarray:
    """Read a grey or RGB picture, its grey levels as they are.

    Where a conversion would lose something or has no obvious meaning, the picture is
    refused: palettes, CMYK and bilevel pictures, transparency, colours of 16 bits
    (Pillow would keep 8), TIFFs in which 0 is white, and files with several pages or
    frames. An alpha channel that is opaque everywhere is left out. A rotation noted
    in the EXIF data is not applied. Pixels that equal GDAL_NODATA become NaN.

    Args:
        path: The file; its content must be of the kind that its extension says.

    Returns:
        (H, W) int8, uint8, uint16, int32, uint32 or float32, or (3, H, W) uint8; of
        either shape, float64 with NaN where there is no data.

    Raises:
        ImageError: The file is of another kind, damaged or truncated, too large for
            `MAX_COMPRESSED_PIXELS`, or a picture of a kind refused above.
        OSError: The file cannot be opened.
    """
    # It takes a while to import, and most sets hold no pictures.
    from PIL import Image

    kind = _FORMATS.get(path.suffix.lower(), "TIFF")
    with path.open("rb") as stream:
        start = stream.read(32)
        stream.seek(0)
        try:
            # Only now is a decoder chosen, from the content, but of this kind alone.
            with Image.open(stream, formats=[kind]) as picture:
                width, height = picture.size
                check_compressed_size((height, width, len(picture.getbands())), path)
                _check_kind(picture, start, path)
                pixels = _as_stored(picture)
                missing = _tiff_tag(picture, _GDAL_NODATA)
        except ImageError:
            raise
        except Exception as error:  # Pillow has no common class for damaged files
            raise ImageError.because(
                path,
                f"cannot be decoded ({type(error).__name__}: {error})",
                f"a complete {kind} file",
            ) from error
    if pixels.ndim == 3:
        pixels = _without_alpha(pixels, path)
    return pixels if missing is None else _without_data(pixels, missing, path)


def _check_kind(picture: Image, start: bytes, path: Path) -> None:
    """Refuse pictures that cannot be read without a loss or a guess."""
    colour = picture.mode in ("RGB", "RGBA", "LA")
    reason = None
    if getattr(picture, "n_frames", 1) > 1:
        reason = "several pages or frames"
    elif not colour and picture.mode not in _GREY:
        reason = f"a picture of mode {picture.mode!r}"
    elif "transparency" in picture.info:
        reason = "a transparent colour"
    elif colour and _bits(picture, start) > 8:
        reason = "colours or transparency of 16 bits, of which Pillow keeps 8"
    elif _tiff_tag(picture, _PHOTOMETRIC) == 0:
        reason = "a picture in which 0 is white"
    if reason:
        raise ImageError.because(path, f"holds {reason}", _ACCEPTED)


def _bits(picture: Image, start: bytes) -> int:
    """Largest number of bits for one value of one pixel, as stored."""
    if picture.format == "PNG":
        return start[24]  # behind signature, chunk header, width and height
    bits = _tiff_tag(picture, _BITS) or 8
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _as_stored(picture: Image) -> np.ndarray:
    """The pixels, in the type that the file has: Pillow mistakes the sign of some."""
    pixels = np.array(picture)
    if picture.format != "TIFF":
        return pixels
    kinds = _tiff_tag(picture, _SAMPLE_FORMAT) or 1
    signed = 2 in (kinds if isinstance(kinds, tuple) else (kinds,))
    if pixels.dtype == np.uint8 and signed:
        return pixels.view(np.int8)
    if picture.mode == "I" and _bits(picture, b"") == 32 and not signed:
        return pixels.view(np.uint32)
    return pixels


def _without_data(pixels: np.ndarray, missing: object, path: Path) -> np.ndarray:
    """Put NaN where a GeoTIFF says that there is no data."""
    text = str(missing).strip("\0 ")
    try:
        value = float(text)
    except ValueError:
        raise ImageError.because(
            path, f"has GDAL_NODATA = {text!r}", "a number"
        ) from None
    blank = pixels == pixels.dtype.type(value) if _fits(value, pixels.dtype) else None
    if blank is None or not blank.any():
        return pixels
    return np.where(blank, np.nan, pixels.astype(np.float64))


def _fits(value: float, dtype: np.dtype) -> bool:
    """Whether a type can hold a number, so that a pixel may be equal to it."""
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return value.is_integer() and limits.min <= value <= limits.max


def _tiff_tag(picture: Image, tag: int) -> Any:
    """Value of a tag; None in other files and where it is missing."""
    return getattr(picture, "tag_v2", {}).get(tag)


def _without_alpha(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Turn (H, W, 2 to 4) into (H, W) or (3, H, W) if nothing is transparent."""
    if pixels.shape[2] in (2, 4):
        hidden = int((pixels[..., -1] < 255).sum())
        if hidden:
            raise ImageError.because(
                path, f"holds {hidden} transparent pixels", "opaque pixels"
            )
        pixels = pixels[..., :-1]
    pixels = np.moveaxis(pixels, 2, 0)
    return pixels[0] if len(pixels) == 1 else pixels
