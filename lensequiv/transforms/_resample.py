"""Images of one pixel scale brought to another."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from lensequiv._checks import check_positive
from lensequiv._neutral import neutral
from lensequiv.data.arrays import SupportsArray
from lensequiv.transforms._normalise import as_tensor

__all__ = ["resample", "resampled_side"]

_LOBES = 3  # of the Lanczos kernel, on each side
_LARGEST_SIDE = 16_384  # pixels; beyond it a scale is likelier wrong than meant


def resampled_side(side: int, from_scale: float, to_scale: float) -> int:
    """The side that `resample` gives an image of `side` pixels.

    It covers as much of the sky as whole pixels can without leaving the image. An odd
    side stays odd and an even one even, so that a lens on the central pixel, or
    between the central four, is there afterwards.

    Args:
        side: *Unit*: pixels.
        from_scale: *Unit*: arcsec/pixel.
        to_scale: *Unit*: arcsec/pixel.

    Returns:
        The side in pixels; 0 or negative if no such pixel fits.
    """
    whole = math.floor(side * from_scale / to_scale + 1e-6)
    return whole - (whole - side) % 2


@neutral()
def resample(
    images: Tensor | SupportsArray, from_scale: float, to_scale: float
) -> Tensor:
    """Brings images to another pixel scale, as if observed with other pixels.

    Pixel values are surface brightnesses: a constant stays that constant, and the sum
    over the pixels of an object changes by (from_scale / to_scale)^2, as its number of
    pixels does. The centre of the image stays its centre. Rows and columns are
    interpolated with Lanczos' kernel of three lobes on each side (C. E. Duchon, 1979,
    J. Appl. Meteorol. 18, 1016); where pixels become larger, the kernel is stretched
    by their ratio, so that what they cannot resolve is averaged instead of aliased.
    At the edges the part of the kernel within the image is used, scaled to sum to 1.

    The noise of the result is correlated where pixels became smaller, and its
    variance is lower where they became larger. What the point-spread function or the
    old pixels have blurred stays blurred.

    Args:
        images: Tensor or array, (..., H, W) of any real dtype.
        from_scale: Of `images`. *Unit*: arcsec/pixel.
        to_scale: That is wanted, in the same unit.

    Returns:
        (..., H', W') float32 on the device of `images`; see `resampled_side`. If the
        scales are equal, the images as they are, in float32. Gradients flow back.

    Raises:
        TypeError: `images` is neither a tensor nor an array.
        ValueError: A scale is not a positive number, no pixel of the new size fits
            into the images, a side would exceed 16,384 pixels, or a pixel is masked,
            NaN or infinite, which would spread.
    """
    images = as_tensor(images)
    from_scale = check_positive("from_scale", from_scale)
    to_scale = check_positive("to_scale", to_scale)
    if images.ndim < 2 or images.is_complex():
        raise ValueError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}; expected "
            "(..., H, W) of real numbers"
        )
    sides = [resampled_side(side, from_scale, to_scale) for side in images.shape[-2:]]
    if not all(0 < side <= _LARGEST_SIDE for side in sides):
        height, width = images.shape[-2:]
        raise ValueError(
            f"images of {height} x {width} pixels of {from_scale:g} arcsec would have "
            f"{max(sides[0], 0)} x {max(sides[1], 0)} pixels of {to_scale:g} arcsec; "
            f"expected scales that lead to 1 to {_LARGEST_SIDE} pixels a side"
        )
    if from_scale == to_scale:
        return images.float()
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise ValueError("images hold NaN or infinite pixels; expected none")
    # In double precision: a small signal on a large constant keeps its digits.
    ratio = to_scale / from_scale
    rows, columns = (
        _weights(old, new, ratio, images.device)
        for old, new in zip(images.shape[-2:], sides, strict=True)
    )
    return (rows @ images.double() @ columns.T).float()


@lru_cache(maxsize=32)
def _weights(old: int, new: int, ratio: float, device: torch.device) -> Tensor:
    """What each new pixel of a row takes of the old ones: (new, old) float64.

    Args:
        old: Pixels of the row.
        new: Pixels wanted.
        ratio: Size of a new pixel in old ones.
        device: Of the result.
    """
    centres = (torch.arange(new, dtype=torch.float64) - (new - 1) / 2) * ratio
    pixels = torch.arange(old, dtype=torch.float64) - (old - 1) / 2
    distance = (pixels - centres[:, None]) / max(1.0, ratio)
    kernel = torch.sinc(distance) * torch.sinc(distance / _LOBES)
    kernel[distance.abs() >= _LOBES] = 0
    return (kernel / kernel.sum(1, keepdim=True)).to(device)
