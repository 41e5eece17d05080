"""FITS files of one plain image, as most cut-outs are, read without astropy.

astropy takes most of a millisecond for a file, three times as long as all else that
happens to a cut-out before the network. Whatever is out of the ordinary in any way is
left to it.
"""

from __future__ import annotations

import math
import re
from typing import IO, NamedTuple

import numpy as np

_BLOCK = 2880
_MOST_BLOCKS = 36  # of a header; longer ones are left to astropy
_CARD = 80
_INTEGER = re.compile(r"= +(-?\d{1,9}) *(?:/.*)?")
_KEYWORD = re.compile(r"[A-Z0-9_-]+ *| {8}")
# Of other HDUs, of scaled or blank pixels, of files that are no plain image.
_UNUSUAL_WORDS = """
    SIMPLE BITPIX NAXIS XTENSION EXTNAME HDUNAME GROUPS PCOUNT GCOUNT ZIMAGE INHERIT
    BSCALE BZERO BLANK ZBLANK ZSCALE ZZERO
"""
_UNUSUAL = frozenset(word.ljust(8) for word in _UNUSUAL_WORDS.split())
_LAST = "END".ljust(_CARD)
_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


class Single(NamedTuple):
    """The one image of a file.

    Attributes:
        pixels: As stored, (H, W) or three axes.
        start: Where the pixels begin, in bytes, and the header ends.
    """

    pixels: np.ndarray
    start: int


def read_single(stream: IO[bytes], length: int) -> Single | None:
    """Read a file that is one header and one image without scaling, and no more.

    Args:
        stream: The file, at any position; that is changed.
        length: Of the file, in bytes.

    Returns:
        The image; None if anything about the file is unusual, damaged files included.
    """
    stream.seek(0)
    header = ""
    while not _ended(header):
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK or len(header) >= _MOST_BLOCKS * _BLOCK:
            return None
        header += block.decode("latin-1")
    shape, bits = _image(header)
    size = math.prod(shape) * abs(bits) // 8
    padded = -(-size // _BLOCK) * _BLOCK
    if not shape or length != len(header) + padded:
        return None
    content = np.empty(size, np.uint8)
    if stream.readinto(content.data) != size:  # type: ignore[attr-defined]
        return None
    return Single(content.view(_TYPES[bits]).reshape(shape), len(header))


def _ended(header: str) -> bool:
    """Whether the last block has the card END, and nothing behind it."""
    last = header[-_BLOCK:].rstrip(" ")
    return last.endswith("END") and (len(last) - 3) % _CARD == 0


def _image(header: str) -> tuple[tuple[int, ...], int]:
    """Shape and bits of the image by an ordinary header; no shape if it is none."""
    nothing: tuple[tuple[int, ...], int] = (), 8
    if not (header.isascii() and header.isprintable()):
        return nothing
    cards = [header[i : i + _CARD] for i in range(0, len(header), _CARD)]
    bits, axes = _number(cards[1], "BITPIX"), _number(cards[2], "NAXIS")
    start = re.fullmatch(r"SIMPLE  = {20}T *(/.*)?", cards[0])
    if start is None or bits not in _TYPES or axes not in (2, 3):
        return nothing
    sides = [_number(cards[3 + i], f"NAXIS{i + 1}") for i in range(axes)]
    end = cards.index(_LAST)
    words = {card[:8] for card in cards[3 + axes : end]}
    if words & _UNUSUAL or not all(map(_KEYWORD.fullmatch, words)):
        return nothing
    if "".join(cards[end + 1 :]).strip() or not all(
        side and side > 0 for side in sides
    ):
        return nothing
    shape = tuple(side for side in reversed(sides) if side is not None)
    return (shape, bits) if sum(side > 1 for side in shape) >= 2 else nothing


def _number(card: str, keyword: str) -> int | None:
    """The integer of a card, if it has this keyword."""
    found = _INTEGER.fullmatch(card[8:])
    return int(found[1]) if found and card[:8] == keyword.ljust(8) else None
