"""Files compressed as a whole: gzip, bzip2 and xz, decoded within a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lensequiv.data.checks import MAX_COMPRESSED_PIXELS
from lensequiv.data.errors import ImageError

_MAX_UNPACKED = 8 * MAX_COMPRESSED_PIXELS
_PIECE = 2**20
_XZ_MEMORY = 2**27  # bytes; `xz -9` needs 65 MiB
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
_OTHERS = {b"\x1f\x9d": "compress (.Z)", b"\x28\xb5\x2f\xfd": "zstd"}


def unpacked(stream: IO[bytes], path: Path) -> IO[bytes]:
    """Undo whatever compression a file's first bytes tell of.

    Args:
        stream: The file at its beginning; it can seek.
        path: The file, named in error messages.

    Returns:
        A stream at the beginning of the content: the given one if it is not
        compressed, else one in memory.

    Raises:
        EOFError: The file is truncated.
        ImageError: The content is larger than 8 bytes for each of
            `MAX_COMPRESSED_PIXELS`, or compressed in another way.
        OSError: The file is damaged.
        lzma.LZMAError: The same; or it needs more than 128 MiB to be decoded.
    """
    start = stream.read(6)
    stream.seek(0)
    if start.startswith(_GZIP):
        pieces = _gzip_pieces(stream)
    elif start.startswith((_BZIP2, _XZ)):
        pieces = _pieces(stream, start)
    else:
        for magic, method in _OTHERS.items():
            if start.startswith(magic):
                raise ImageError.because(
                    path,
                    f"is compressed by {method}",
                    "a file without compression, or one of gzip, bzip2, xz or fpack",
                )
        return stream
    content = io.BytesIO()
    for piece in pieces:
        content.write(piece)
        if content.tell() > _MAX_UNPACKED:
            raise ImageError.because(
                path,
                f"holds more than {_MAX_UNPACKED} bytes once unzipped",
                "a smaller file, or an uncompressed one",
            )
    content.seek(0)
    return content


def _gzip_pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """The content of a gzip file."""
    with gzip.open(stream) as unzipped:
        # Piece by piece: `read` with a length sets that much memory aside.
        while piece := unzipped.read(_PIECE):
            yield piece


def _pieces(stream: IO[bytes], start: bytes) -> Iterator[bytes]:
    """The content of a bzip2 or xz file, which may be several joined together."""
    data = stream.read(_PIECE)
    while data.strip(b"\0"):  # xz files may end in zeros
        decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor = (
            bz2.BZ2Decompressor()
            if start.startswith(_BZIP2)
            else lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        )
        while not decoder.eof:
            if decoder.needs_input and not data:
                raise EOFError("the compressed file ends too early")
            yield decoder.decompress(data, _PIECE)
            data = stream.read(_PIECE) if decoder.needs_input else b""
        data = decoder.unused_data + stream.read(_PIECE)
