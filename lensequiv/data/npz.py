"""NPZ archives, read without trusting what their headers claim."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from lensequiv.data.checks import channel_axis, check_compressed_size, check_dtype
from lensequiv.data.errors import ImageError
from lensequiv.data.npy import Header, check_length, read_header, read_pixels


def load_npz(path: Path, name: int | str | None) -> np.ndarray:
    """Read the only image of an `.npz` archive, or a named one.

    Headers are read first. What the header of the chosen array claims is compared
    with what the archive claims, and both with `MAX_COMPRESSED_PIXELS`, before any
    pixel is decoded; the archive's checksum is verified. Object arrays are refused.

    Args:
        path: The file; arrays stored or deflated.
        name: Name of the array, with or without `.npy`; None for the only image.

    Returns:
        The array as stored: (H, W), (C, H, W) or (H, W, C), any integer or real
        type and byte order.

    Raises:
        ImageError: The file is no archive of arrays, is damaged, has no such array
            or not exactly one image, or the array is anything but one image.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return _read(archive, name, path)
        except ImageError:
            raise
        except Exception as error:  # zipfile and zlib have no common class of errors
            raise ImageError.because(
                path,
                f"cannot be decoded ({type(error).__name__}: {error})",
                "an archive written by numpy.savez or numpy.savez_compressed",
            ) from error


def _read(archive: zipfile.ZipFile, name: int | str | None, path: Path) -> np.ndarray:
    """Choose an array by name or by its header, and read it."""
    members = {
        member.filename.removesuffix(".npy"): member
        for member in archive.infolist()
        if member.filename.endswith(".npy")
    }
    headers: dict[str, Header] = {}
    for key, member in members.items():
        _check_member(member, path)
        with archive.open(member) as stream:
            headers[key] = read_header(stream, f"{path}[{key}]")
    listed = ", ".join(f"{key}: {h[2]} {h[0]}" for key, h in headers.items()) or "none"
    if name is None:
        images = [key for key, header in headers.items() if _is_image(header)]
        if len(images) != 1:
            raise ImageError.because(
                path,
                f"holds {len(images)} arrays that are images (arrays: {listed})",
                "exactly one, or the name of one as hdu=",
            )
        key = images[0]
    else:
        key = str(name).removesuffix(".npy")
        if key not in headers:
            raise ImageError.because(
                path, f"has no array {name!r}", f"one of its arrays ({listed})"
            )
    where = f"{path}[{key}]"
    with archive.open(members[key]) as stream:
        header = read_header(stream, where)
        check_dtype(header[2], where)
        channel_axis(header[0], where)
        check_compressed_size(header[0], where)
        check_length(header, members[key].file_size - stream.tell(), where)
        pixels = read_pixels(stream, header, where)
        # Only at the end of the member does zipfile compare the checksum.
        if stream.read(1):
            raise ImageError.because(
                where, "holds more bytes than its header claims", f"shape {header[0]}"
            )
    return pixels


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse what NumPy never writes: other compressors and encryption."""
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if member.compress_type not in known or member.flag_bits & 1:
        raise ImageError.because(
            f"{path}[{member.filename}]",
            "is encrypted or compressed by an unusual method",
            "an array stored or deflated, as numpy.savez_compressed writes it",
        )


def _is_image(header: Header) -> bool:
    """Whether an array has the type and layout of an image."""
    try:
        check_dtype(header[2], "")
        channel_axis(header[0], "")
    except ImageError:
        return False
    return True
