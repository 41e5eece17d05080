"""Whether an image is anything like the training images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lensequiv._checks import check_number
from lensequiv.plain import banded_matrix, gaussian_kernel, local_contrast
from lensequiv.transforms._order import median_of_positive

__all__ = [
    "STATISTICS",
    "OutOfDomainWarning",
    "check_ranges",
    "image_features",
    "image_statistics",
    "statistics_out_of_range",
    "statistics_ranges",
    "unlike",
]

# As in `SteerableCNN`: what stands out from its surroundings.
_CONTRAST_SIGMA, _CONTRAST_FLOOR = 3.0, 0.05
STATISTICS = ("centre", "edge", "maximum", "noise", "extent")
"""Names of the `image_statistics`, in the order of the `image_features`."""

_AT_ONCE = 16  # images whose pixels a processor's cache holds


class OutOfDomainWarning(UserWarning):
    """An image differs from the training images in a respect that can be measured."""


def image_statistics(images: Tensor) -> dict[str, Tensor]:
    """Simple statistics of preprocessed images (sky 0, peak 1).

    * `centre`: mean brightness within a tenth of the image's half side from its
      centre. The simulated lenses emit no light of their own; real ones do.
    * `edge`: mean brightness of the outermost pixels. Neighbours, or an arc that
      leaves the frame, raise it.
    * `maximum`: of the pixels; stars and hot pixels raise it.
    * `noise`: typical difference of neighbouring pixels (median absolute difference
      over 0.954, the factor for independent Gaussian noise), relative to the peak.
    * `extent`: share of pixels brighter than a tenth of the peak.

    Args:
        images: (N, C, H, W).

    Returns:
        (N,) float32 by name; the largest over the channels.
    """
    if _is_large(images):
        parts = [image_statistics(part) for part in images.split(_AT_ONCE)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    pixels, (_, _, height, width) = images.flatten(2), images.shape
    rows, columns, disc = _disc(height, width, images.device)
    bright = torch.gt(pixels, 0.1).to(torch.float32)
    values = (
        (images[..., rows, columns] * disc).sum((2, 3)),
        _edge(images).mean(2),
        pixels.amax(2),
        median_of_positive(_steps(images)) / 0.954,
        bright.mean(2),
    )
    return {n: value.amax(1) for n, value in zip(STATISTICS, values, strict=True)}


def image_features(images: Tensor, found: Mapping[str, Tensor] | None = None) -> Tensor:
    """Sixteen numbers an image, whose distribution makes half of a `Domain`.

    The `image_statistics`; mean, standard deviation, third and fourth central moment
    of the pixels; and of the local contrast (see `lensequiv.plain.Contrast`) mean,
    standard deviation, minimum, maximum, third and fourth moment and mean modulus.
    Turns by 90 degrees and flips change them by rounding alone.

    Args:
        images: (N, C, H, W), preprocessed.
        found: The images' `image_statistics`, if they are known.

    Returns:
        (N, 16) float32; the largest over the channels.
    """
    if found is None and _is_large(images):
        return torch.cat([image_features(part) for part in images.split(_AT_ONCE)])
    found = image_statistics(images) if found is None else found
    local = local_contrast(images, _blurred, _CONTRAST_FLOOR, None).flatten(2)
    pixels = images.flatten(2)
    mean, local_mean = pixels.mean(2, True), local.mean(2, True)
    offset, local_offset = pixels - mean, local - local_mean
    # Products, since torch's power of four is many times as slow, and so is its `std`.
    square, local_square = offset.square(), local.square()
    others = pixels.shape[2] - 1
    values = [
        *(mean.squeeze(2), (square.sum(2) / others).sqrt()),
        *((square * offset).mean(2), square.square().mean(2)),
        *(local_mean.squeeze(2), (local_offset.square().sum(2) / others).sqrt()),
        *(local.amin(2), local.amax(2)),
        *((local_square * local).mean(2), local_square.square().mean(2)),
        local.abs().mean(2),
    ]
    return torch.stack([*found.values(), *(v.amax(1) for v in values)], 1)


def _is_large(images: Tensor) -> bool:
    """Whether images are better taken in parts, which stay in a processor's cache."""
    return images.is_cpu and len(images) > _AT_ONCE


@lru_cache(maxsize=16)
def _disc(height: int, width: int, device: torch.device) -> tuple[slice, slice, Tensor]:
    """The pixels near the centre.

    Returns:
        Rows and columns of a box around them, and their weights in it, of sum 1.
    """
    y = torch.linspace(-1, 1, height, dtype=torch.float32, device="cpu")[:, None]
    x = torch.linspace(-1, 1, width, dtype=torch.float32, device="cpu")[None, :]
    within = (x**2 + y**2) < 0.1**2
    box = []
    for axis in (1, 0):
        places = within.any(axis).nonzero().flatten().tolist() or [0]
        box.append(slice(places[0], places[-1] + 1))
    rows, columns = box
    weights = within[rows, columns].float() / within.sum()
    return rows, columns, weights.to(device)


def _edge(images: Tensor) -> Tensor:
    """The outermost pixels: (N, C, height, width) to (N, C, their number)."""
    sides = [images[..., 0, :], images[..., -1, :]]
    sides += [images[..., 1:-1, 0], images[..., 1:-1, -1]]
    return torch.cat(sides, 2)


def _steps(images: Tensor) -> Tensor:
    """Absolute differences of neighbours: (N, C, their number), in new memory."""
    across = images[..., 1:] - images[..., :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    return torch.cat([across.flatten(2), down.flatten(2)], 2).abs_()


def _blurred(images: Tensor) -> Tensor:
    """Images blurred by a Gaussian, with zeros around them."""
    rows, columns = (_blur(size, images.device) for size in images.shape[2:])
    return torch.matmul(torch.matmul(rows, images), columns.T)


@lru_cache(maxsize=16)
def _blur(size: int, device: torch.device) -> Tensor:
    """A Gaussian along one axis of an image, as a matrix: (size, size)."""
    kernel = gaussian_kernel(_CONTRAST_SIGMA, math.ceil(3 * _CONTRAST_SIGMA))
    return banded_matrix(kernel, size, 1, len(kernel) // 2).float().to(device)


def statistics_ranges(images: Tensor) -> dict[str, list[float]]:
    """The range of each statistic over many images, a tenth of it added on each side.

    Args:
        images: (N, C, H, W), preprocessed.

    Returns:
        [low, high] by name.
    """
    ranges = {}
    for name, value in image_statistics(images).items():
        low, high = float(value.min()), float(value.max())
        margin = 0.1 * (high - low)
        scale = 1e5  # five decimals, rounded away from the images
        ranges[name] = [
            math.floor((low - margin) * scale) / scale,
            math.ceil((high + margin) * scale) / scale,
        ]
    return ranges


def check_ranges(ranges: Any) -> None:
    """Requires ranges as `statistics_ranges` returns them, some or all of them.

    Raises:
        ValueError: Something is wrong with them; the message names it.
    """
    if not isinstance(ranges, Mapping):
        raise ValueError("'image_statistics' is no object")
    for name, limits in ranges.items():
        if name not in STATISTICS:
            raise ValueError(
                f"unknown image statistic {name!r}; known are " + ", ".join(STATISTICS)
            )
        if not isinstance(limits, list) or len(limits) != 2:
            raise ValueError(f"image statistic {name!r}: expected [low, high]")
        for limit in limits:
            check_number(f"image statistic {name!r}", limit, -3e38, 3e38)
        if limits[0] > limits[1]:
            raise ValueError(
                f"image statistic {name!r}: its low limit is above its high"
            )


def unlike(image: Tensor, ranges: Mapping[str, list[float]]) -> list[str]:
    """In what respects an image lies outside the training images' ranges.

    Args:
        image: (C, H, W), preprocessed.
        ranges: As `statistics_ranges` returns; empty if nothing is known.

    Returns:
        One sentence part for each statistic that is out of range.
    """
    return statistics_out_of_range(image_statistics(image[None]), ranges)


def statistics_out_of_range(
    found: Mapping[str, Tensor | float], ranges: Mapping[str, list[float]]
) -> list[str]:
    """As `unlike`, of one image's `image_statistics`."""
    return [
        f"{name} {float(found[name]):.3g} (training {low:.3g} to {high:.3g})"
        for name, (low, high) in ranges.items()
        if not low <= float(found[name]) <= high
    ]
