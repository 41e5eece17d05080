"""What every image has to satisfy, whichever way it arrives."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lensequiv.data.errors import ImageError

MAX_CHANNELS = 16
"""Largest number of channels an image may have; longer axes are spatial."""

_FEW = 4  # channels that need not be compared with height and width

MAX_COMPRESSED_PIXELS = 2**26
"""Largest image (268 MB as float32) that is decoded from a compressed file.

A small file can claim any size there; elsewhere the file itself has to be as large.
"""

FILE_LAYOUTS = (
    "one image of shape (H, W), (C, H, W) or (H, W, C)"
    f" with at most {MAX_CHANNELS} channels (if more than 4: height and width at least"
    " twice as many)"
)


_STACK = (
    " (a stack of images: pass the array, or write it to HDF5 or NPZ as images,"
    " (N, H, W) or (N, C, H, W))"
)


def channel_axis(shape: tuple[int, ...], where: str | os.PathLike[str]) -> int | None:
    """Find the channel axis of a single image from its shape alone.

    A first or last axis of at most 4 is that of the channels, and so is one of at most
    `MAX_CHANNELS` if both other axes are at least twice as long. The first axis is
    preferred over the last, unless the last has length 1 and the first has not.

    Args:
        shape: Shape of the array, as stored.
        where: File named in the error message.

    Returns:
        0 for (C, H, W), 2 for (H, W, C) and None for (H, W).

    Raises:
        ImageError: The array has another rank, an axis without elements, or more
            than `MAX_CHANNELS` channels in either place; or, of more than 4, height
            or width is less than twice their number.
    """
    if len(shape) not in (2, 3):
        raise ImageError.because(
            where,
            f"holds a {len(shape)}-D array of shape {shape}",
            FILE_LAYOUTS + (_STACK if len(shape) == 4 else ""),
        )
    if min(shape) < 1:
        raise ImageError.because(
            where, f"holds an empty array of shape {shape}", FILE_LAYOUTS
        )
    if len(shape) == 2:
        return None
    if shape[0] <= _FEW and (shape[2] != 1 or shape[0] == 1):
        return 0
    if shape[2] <= _FEW:
        return 2
    for axis in (0, 2):
        others = min(shape[1], shape[2 - axis])
        if shape[axis] <= MAX_CHANNELS and others >= 2 * shape[axis]:
            return axis
    raise ImageError.because(
        where,
        f"holds an array of shape {shape}, which has too many channels",
        FILE_LAYOUTS + _STACK,
    )


def check_dtype(dtype: np.dtype, where: str | os.PathLike[str]) -> None:
    """Refuse arrays that do not hold real numbers.

    Args:
        dtype: NumPy type of the array, in any byte order.
        where: File or argument named in the error message.

    Raises:
        ImageError: The type is neither an integer nor a real floating-point type.
    """
    if dtype.hasobject:
        raise ImageError.because(
            where,
            "holds an object array, whose elements can be anything",
            "a plain array of integers or real numbers",
        )
    if dtype.kind not in "iuf":
        raise ImageError.because(
            where,
            f"holds values of type {dtype}",
            "integers or real floating-point numbers",
        )


def check_compressed_size(
    shape: tuple[int, ...], where: str | os.PathLike[str]
) -> None:
    """Refuse compressed images that would take too much memory once decoded.

    Args:
        shape: Shape of the image, as the header claims.
        where: File named in the error message.

    Raises:
        ImageError: There are more than `MAX_COMPRESSED_PIXELS` pixels.
    """
    if math.prod(shape) > MAX_COMPRESSED_PIXELS:
        raise ImageError.because(
            where,
            f"claims {math.prod(shape)} compressed pixels (shape {shape})",
            f"at most {MAX_COMPRESSED_PIXELS}: store larger images uncompressed",
        )


def check_image(image: np.ndarray, where: str | os.PathLike[str]) -> None:
    """Do as `check_pixels`, at a tenth of the time, for one image from a file.

    Args:
        image: (C, H, W) float32, C-contiguous, none of the axes empty.
        where: File named in the error message.

    Raises:
        ImageError: The image holds NaN or infinity, or all channels are constant.
    """
    limits = [(channel.min(), channel.max()) for channel in image]
    # Comparisons with NaN, which minimum and maximum pass on, are false.
    finite = all(low > -np.inf and high < np.inf for low, high in limits)
    if not finite or not any(low < high for low, high in limits):
        check_pixels(torch.from_numpy(image)[None], where, indexed=False)


def transformed(
    transform: Callable[[Tensor], Tensor] | None,
    image: Tensor,
    where: str | os.PathLike[str],
) -> Tensor:
    """Apply a data set's transform, which knows nothing of files.

    Args:
        transform: Takes and returns one image; None to leave it as it is.
        image: (C, H, W) float32.
        where: File named in the error message.

    Returns:
        What the transform makes of the image.

    Raises:
        ImageError: The transform raised a ValueError, for instance since the image is
            smaller than the network needs.
    """
    if transform is None:
        return image
    try:
        return transform(image)
    except ValueError as error:
        raise ImageError(f"{os.fspath(where)}: {error}") from error


def check_pixels(images: Tensor, where: str | os.PathLike[str], indexed: bool) -> None:
    """Refuse images with pixels that are not finite, and images without structure.

    Args:
        images: Images, (N, C, H, W) float32, none of the axes empty.
        where: File or argument named in the error message.
        indexed: Whether the message names the image as `where[i]`.

    Raises:
        ImageError: An image holds NaN or infinity, or all of its channels are
            constant.
    """
    values = images.detach().flatten(2)
    low, high = values.amin(2), values.amax(2)  # a tenth of the time of `aminmax`
    finite = (torch.isfinite(low) & torch.isfinite(high)).all(dim=1)
    flat = (low == high).all(dim=1)
    refused = torch.nonzero(flat | ~finite)
    if len(refused) == 0:
        return
    index = int(refused[0])
    name = f"{os.fspath(where)}[{index}]" if indexed else where
    if not finite[index]:
        count = int((~torch.isfinite(images[index])).sum())
        pixels = "pixel" if count == 1 else "pixels"
        raise ImageError.because(
            name,
            f"holds {count} NaN or infinite {pixels} (as float32)",
            "finite values everywhere: fill such pixels first",
        )
    levels = ", ".join(f"{level:g}" for level in low[index].tolist())
    raise ImageError.because(
        name,
        f"holds a constant image (every pixel is {levels} as float32)",
        "pixels that differ",
    )
