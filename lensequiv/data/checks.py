"""What every image has to satisfy, whichever way it arrives."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from lensequiv.data.errors import ImageError

MAX_CHANNELS = 4
"""Largest number of channels an image may have; longer axes are spatial."""

FILE_LAYOUTS = (
    "one image of shape (H, W), (C, H, W) or (H, W, C)"
    f" with at most {MAX_CHANNELS} channels"
)


def channel_axis(shape: tuple[int, ...], where: str | os.PathLike[str]) -> int | None:
    """Find the channel axis of a single image from its shape alone.

    A last axis of length 1 is the channel axis unless the first axis has length 1
    too; otherwise the first axis is preferred over the last.

    Args:
        shape: Shape of the array, as stored.
        where: File named in the error message.

    Returns:
        0 for (C, H, W), 2 for (H, W, C) and None for (H, W).

    Raises:
        ImageError: The array has another rank, an axis without elements, or more
            than `MAX_CHANNELS` channels in either place.
    """
    if len(shape) not in (2, 3):
        raise ImageError.because(
            where, f"holds a {len(shape)}-D array of shape {shape}", FILE_LAYOUTS
        )
    if min(shape) < 1:
        raise ImageError.because(
            where, f"holds an empty array of shape {shape}", FILE_LAYOUTS
        )
    if len(shape) == 2:
        return None
    if shape[0] <= MAX_CHANNELS and (shape[2] != 1 or shape[0] == 1):
        return 0
    if shape[2] <= MAX_CHANNELS:
        return 2
    raise ImageError.because(
        where,
        f"holds an array of shape {shape}, which has too many channels",
        FILE_LAYOUTS,
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
            "holds an object array, which is refused because reading it from a file"
            " needs pickle, and pickle can run any code",
            "a plain array of integers or real numbers",
        )
    if dtype.kind not in "iuf":
        raise ImageError.because(
            where,
            f"holds values of type {dtype}",
            "integers or real floating-point numbers",
        )


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
    low, high = torch.aminmax(images.detach().flatten(2), dim=2)
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
            "finite values everywhere",
        )
    levels = ", ".join(f"{level:g}" for level in low[index].tolist())
    raise ImageError.because(
        name,
        f"holds a constant image (every pixel is {levels} as float32)",
        "pixels that differ",
    )
