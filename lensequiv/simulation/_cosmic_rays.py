"""Tracks that cosmic rays leave in a detector."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["TRACK_NUMBERS", "add_tracks"]

TRACK_NUMBERS = 4  # that one track needs
# Electrons that a particle frees where it goes straight through. With it half of the
# tracks have less than 990, and none less than 700; in Hubble's ACS the median is about
# 1000, and hardly any is below 500 (Riess 2002, ACS ISR 2002-07).
_CHARGE = 700.0
_LEAST = 1e-3  # squared cosine: the longest track has 32 pixels
_POINTS = 64  # that stand for a track


def add_tracks(images: Tensor, number: Tensor, numbers: Tensor) -> Tensor:
    """Adds straight tracks of cosmic rays, which come from all sides.

    Through a flat layer the squared cosine of their angle to its normal is uniform, c2.
    A track is sqrt(1 / c2 - 1) thicknesses long, in any direction, and what it frees
    goes as its way through the layer, 1 / sqrt(c2). The layer is taken to be as thick
    as a pixel is wide. Charge is even along the track, and each piece of it is shared
    linearly among the four nearest pixels, since it diffuses.

    Args:
        images: (B, n, n) electrons; stay as they are.
        number: (B,) of tracks in each image.
        numbers: (B, T, 4) uniform deviates: row and column where a track begins, its
            direction, and c2.

    Returns:
        (B, n, n).
    """
    n = images.shape[-1]
    pixels = torch.arange(n, dtype=images.dtype, device=images.device) + 0.5
    along = torch.arange(_POINTS, dtype=images.dtype, device=images.device) + 0.5
    result = images.clone()
    for k in range(numbers.shape[1]):
        top, left, turn, c2 = numbers[:, k, :, None].unbind(1)
        c2 = c2.clamp_min(_LEAST)
        at = along * (1 / c2 - 1).sqrt() / _POINTS
        rows, columns = (
            (1 - (pixels[:, None] - place[:, None]).abs()).clamp_min(0)
            for place in (
                top * n + at * (turn * 2 * math.pi).sin(),
                left * n + at * (turn * 2 * math.pi).cos(),
            )
        )
        charge = (number > k)[:, None] * _CHARGE / c2.sqrt()
        result += rows @ columns.mT * (charge / _POINTS)[..., None]
    return result
