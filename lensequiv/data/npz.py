"""NPZ archives, read without trusting what their headers claim."""

from __future__ import annotations

import functools
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from lensequiv.data.checks import channel_axis, check_compressed_size
from lensequiv.data.errors import ImageError
from lensequiv.data.flags import (
    Beside,
    flag_notes,
    only_two_values,
    unread_flag_notes,
)
from lensequiv.data.named_arrays import choose_array
from lensequiv.data.npy import check_length, read_header, read_pixels
from lensequiv.data.pixel_scale import named_pixel_scale
from lensequiv.data.stacks import ImageStack, not_one_image
from lensequiv.data.stored import Loaded


class _Member(NamedTuple):
    """An array of an archive, as its header describes it."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    info: zipfile.ZipInfo


def load_npz(path: Path, plane: int | str | None) -> Loaded:
    """Read the image of an `.npz` archive, or a named one.

    Headers are read first. What the header of the chosen array claims is compared
    with what the archive claims, and both with `MAX_COMPRESSED_PIXELS`, before any
    pixel is decoded; the archive's checksum is verified. Object arrays are refused.

    Args:
        path: The file; arrays stored or deflated.
        plane: Name of the array, with or without `.npy`; None to choose by name and
            shape, see `lensequiv.data.named_arrays.choose_array`.

    Returns:
        The image as stored, its array and the pixel scale.

    Raises:
        ImageError: The file is no archive of arrays, is damaged, has no such array
            or not exactly one that can be the image, or the array is anything but one
            image.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as stream, _decoding(path), zipfile.ZipFile(stream) as archive:
        members = _members(archive, path)
        name, stacked = choose_array(members, _name(plane), path, "array")
        if stacked:
            raise not_one_image(path, name, members[name].shape)
        pixels = _read(archive, members[name], f"{path}[{name}]")
        notes = only_two_values(pixels) if plane is None else ()
        if len(members) == 1:
            return Loaded(pixels, plane=name, notes=notes)
        axis = channel_axis(pixels.shape, path)
        size = pixels.shape[:2] if axis == 2 else pixels.shape[-2:]

        def beside(key: str) -> Beside:
            read = functools.partial(_read, archive, members[key], f"{path}[{key}]")
            return Beside(key, key, 1, members[key].shape, read)

        others = [beside(key) for key in members if key != name]
        return Loaded(
            pixels,
            pixel_scale=_pixel_scale(archive, members, path),
            plane=name,
            notes=notes,
            flags=flag_notes(beside(name), others, size),
        )


def open_npz_stack(path: Path, plane: int | str | None) -> ImageStack | None:
    """Open the stack of images in an `.npz` archive.

    Blocks are decoded in turn, so that a stack may be larger than memory; asking for
    an earlier image than the last block's begins anew. The checksum is verified when
    the last image is read.

    Args:
        path: The file.
        plane: As for `load_npz`.

    Returns:
        The stack; None if the file holds one image.

    Raises:
        ImageError: As `load_npz`; or the stack is in Fortran order.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as stream, _decoding(path), zipfile.ZipFile(stream) as archive:
        members = _members(archive, path)
        name, stacked = choose_array(members, _name(plane), path, "array")
        if not stacked:
            return None
        scale = _pixel_scale(archive, members, path)
    member, where = members[name], f"{path}[{name}]"
    if member.fortran_order:
        raise ImageError.because(
            where,
            f"holds images of shape {member.shape} in Fortran order",
            "C order, image by image: save numpy.ascontiguousarray(images)",
        )
    check_compressed_size(member.shape[1:], where)
    rows = _Rows(path, member, where)
    size = member.shape[-2:]
    alike = [n for n, m in members.items() if n != name and m.shape[-2:] == size]
    return ImageStack(
        path,
        name,
        member.shape,
        member.dtype.itemsize,
        rows.read,
        scale,
        unread_flag_notes(alike),
    )


class _Rows:
    """Reads a stack from its archive, forwards."""

    def __init__(self, path: Path, member: _Member, where: str) -> None:
        self._path, self._member, self._where = path, member, where
        self._size = math.prod(member.shape[1:]) * member.dtype.itemsize
        self._row = 0
        self._stream: IO[bytes] | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images from `start` up to `stop`."""
        shape, _, dtype, info = self._member
        with _decoding(self._path):
            if self._stream is None or start < self._row:
                # It stays open for the next block, until the stack is dropped.
                archive = zipfile.ZipFile(self._path)
                self._stream = archive.open(info)
                header = read_header(self._stream, self._where)
                held = info.file_size - self._stream.tell()
                check_length(header, held, self._where)
                self._row = 0
            while self._row < start:
                self._stream.read(self._size)
                self._row += 1
            self._row = stop
            part = ((stop - start, *shape[1:]), False, dtype)
            pixels = read_pixels(self._stream, part, self._where)
            if stop == shape[0]:
                _check_end(self._stream, shape, self._where)
        return pixels


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn the errors of zipfile and zlib, which have no common class, into ours."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError.because(
            path,
            f"cannot be decoded ({type(error).__name__}: {error})",
            "an archive written by numpy.savez or numpy.savez_compressed",
        ) from error


def _name(plane: int | str | None) -> str | None:
    """The name of an array as `_members` has it."""
    return None if plane is None else str(plane).removesuffix(".npy")


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, _Member]:
    """Read the headers of all arrays."""
    found = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            name = info.filename.removesuffix(".npy")
            _check_member(info, path)
            with archive.open(info) as stream:
                found[name] = _Member(*read_header(stream, f"{path}[{name}]"), info)
    return found


def _read(archive: zipfile.ZipFile, member: _Member, where: str) -> np.ndarray:
    """Read one whole array, of type and shape of an image."""
    with archive.open(member.info) as stream:
        header = read_header(stream, where)
        check_compressed_size(header[0], where)
        check_length(header, member.info.file_size - stream.tell(), where)
        pixels = read_pixels(stream, header, where)
        _check_end(stream, header[0], where)
    return pixels


def _pixel_scale(
    archive: zipfile.ZipFile, members: dict[str, _Member], path: Path
) -> float | None:
    """The scale by a small array."""
    small = {
        name: _read(archive, member, f"{path}[{name}]")
        for name, member in members.items()
        if member.shape in ((), (1,), (2, 2)) and not member.dtype.hasobject
    }
    return named_pixel_scale(small)


def _check_end(stream: IO[bytes], shape: tuple[int, ...], where: str) -> None:
    """Only at the end of the member does zipfile compare the checksum."""
    if stream.read(1):
        raise ImageError.because(
            where, "holds more bytes than its header claims", f"shape {shape}"
        )


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse what NumPy never writes: other compressors and encryption."""
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if member.compress_type not in known or member.flag_bits & 1:
        raise ImageError.because(
            f"{path}[{member.filename}]",
            "is encrypted or compressed by an unusual method",
            "an array stored or deflated, as numpy.savez_compressed writes it",
        )
