"""NPY files, read without trusting what their headers claim."""

from __future__ import annotations

import functools
import io
import math
import os
from pathlib import Path
from typing import IO, Literal

import numpy as np

from lensequiv.data.checks import channel_axis, check_dtype
from lensequiv.data.errors import ImageError
from lensequiv.data.stored import Loaded
from lensequiv.data.unpickling import load_pair

Header = tuple[tuple[int, ...], bool, np.dtype]
"""Shape, Fortran order and type of the array in an NPY file."""

_WRITTEN_BY = "an array written by numpy.save"
_PREFIX = np.lib.format.MAGIC_PREFIX
_MAX_HEADER = 10_000  # bytes; numpy.load's limit, too
_MAP_FROM = 2**24  # bytes


def load_npy(path: Path) -> Loaded:
    """Read an `.npy` file that holds one image, or a pickled pair of image and mass.

    Rank, type and size are checked against the header before any pixel is read, so
    a false header costs no memory. Large images of another type than float32 are
    mapped into memory instead of read, so that only the converted copy takes any (as
    with every mapping, a file cut short by others at that moment ends the process).

    Args:
        path: The file.

    Returns:
        The image as stored, and the axion mass in eV or None.

    Raises:
        ImageError: The file is not an NPY file, is shorter than its header claims,
            or holds anything but one image, alone or with a mass.
        OSError: The file cannot be opened or read.
    """
    with path.open("rb") as stream:
        header = read_header(stream, path)
        shape, fortran_order, dtype = header
        held = os.fstat(stream.fileno()).st_size - stream.tell()
        if dtype.kind == "O":
            return Loaded(*load_pair(stream.read(), shape, path))
        check_dtype(dtype, path)
        channel_axis(shape, path)
        claimed = check_length(header, held, path)
        converted = fortran_order or dtype != np.float32 or not dtype.isnative
        if converted and claimed >= _MAP_FROM:
            order: Literal["C", "F"] = "F" if fortran_order else "C"
            pixels = np.memmap(path, dtype, "r", stream.tell(), shape, order)
            return Loaded(np.asarray(pixels))
        return Loaded(read_pixels(stream, header, path))


def check_length(header: Header, held: int, where: str | os.PathLike[str]) -> int:
    """Compare the bytes that a header claims with those that are there.

    Args:
        header: What `read_header` returned.
        held: Number of bytes after the header.
        where: File named in the error message.

    Returns:
        The number of bytes of pixels.

    Raises:
        ImageError: Fewer bytes are held than claimed.
    """
    shape, _, dtype = header
    claimed = math.prod(shape) * dtype.itemsize
    if held < claimed:
        raise ImageError.because(
            where,
            f"holds {held} bytes of pixels, fewer than its header claims",
            f"{claimed} bytes for shape {shape} and type {dtype}: the file is"
            " truncated or damaged",
        )
    return claimed


def read_pixels(
    stream: IO[bytes], header: Header, where: str | os.PathLike[str]
) -> np.ndarray:
    """Read the array that follows a header, once type and length were checked.

    Args:
        stream: Stream at the first pixel.
        header: What `read_header` returned; no object type.
        where: File named in the error message.

    Returns:
        The array as stored, writeable.

    Raises:
        ImageError: The stream ends before the last pixel.
    """
    shape, fortran_order, dtype = header
    content = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    # A buffered stream's `readinto` goes on until the buffer is full or the file ends.
    check_length(header, stream.readinto(content.data), where)  # type: ignore[attr-defined]
    return content.view(dtype).reshape(shape, order="F" if fortran_order else "C")


def read_header(stream: IO[bytes], where: str | os.PathLike[str]) -> Header:
    """Read the header of an NPY file, leaving the stream at the first pixel.

    Args:
        stream: Stream at its beginning.
        where: File named in the error message.

    Returns:
        Shape, Fortran order and type; the shape's axes can be negative.

    Raises:
        ImageError: This is no NPY file, or one of an unknown version, or the header
            is damaged.
        OSError: The stream cannot be read.
    """
    start = stream.read(8)
    if not start.startswith(_PREFIX):
        found = f"begins with {start[:6]!r}" if start else "is an empty file"
        raise ImageError.because(where, f"is not an NPY file: it {found}", _WRITTEN_BY)
    version = tuple(start[6:])
    # Version 3.0 exists for structured types alone, which are never images.
    if len(version) == 2 and version not in ((1, 0), (2, 0)):
        raise ImageError.because(
            where,
            f"is an NPY file of version {version[0]}.{version[1]}",
            "version 1.0 or 2.0",
        )
    size = stream.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(size, "little")
    if length > _MAX_HEADER:
        found = f"it claims {length} bytes"
    else:
        text = stream.read(length)
        try:
            return _parse(version, size + text)
        except Exception as error:  # it can fail in any step of its parsing
            found = str(error)
    raise ImageError.because(where, f"has a damaged NPY header ({found})", _WRITTEN_BY)


# The files of a data set share one header, and parsing takes longer than reading.
@functools.lru_cache(maxsize=64)
def _parse(version: tuple[int, ...], header: bytes) -> Header:
    """Let NumPy parse the header from its length field on."""
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    header_fields: Header = read(io.BytesIO(header))
    return header_fields
