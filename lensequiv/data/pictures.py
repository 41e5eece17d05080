"""PNG, JPEG and TIFF pictures, read through Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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


def load_picture(path: Path) -> np.ndarray:
    """Read a grey or RGB picture, its grey levels as they are.

    Where a conversion would lose something or has no obvious meaning, the picture is
    refused: palettes, CMYK and bilevel pictures, transparency, colours of 16 bits
    (Pillow would keep 8), TIFFs in which 0 is white, and files with several pages or
    frames. An alpha channel that is opaque everywhere is left out. A rotation noted
    in the EXIF data is not applied.

    Args:
        path: The file; its content must be of the kind that its extension says.

    Returns:
        (H, W) uint8, uint16, int32, uint32 or float32, or (3, H, W) uint8.

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
                pixels = np.array(picture)
                unsigned = _unsigned_32(picture)
        except ImageError:
            raise
        except Exception as error:  # Pillow has no common class for damaged files
            raise ImageError.because(
                path,
                f"cannot be decoded ({type(error).__name__}: {error})",
                f"a complete {kind} file",
            ) from error
    if unsigned:
        return pixels.view(np.uint32)  # Pillow has signed integers alone
    if pixels.ndim == 2:
        return pixels
    return _without_alpha(pixels, path)


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


def _unsigned_32(picture: Image) -> bool:
    """Whether the file has unsigned integers of 32 bits."""
    unsigned = _tiff_tag(picture, _SAMPLE_FORMAT) in (None, 1, (1,))
    tiff = picture.format == "TIFF"
    return tiff and unsigned and picture.mode == "I" and _bits(picture, b"") == 32


def _tiff_tag(picture: Image, tag: int) -> int | tuple[int, ...] | None:
    """Value of a tag; None in other files and where it is missing."""
    tags = getattr(picture, "tag_v2", {})
    value: int | tuple[int, ...] | None = tags.get(tag)
    return value


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
