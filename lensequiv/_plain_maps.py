"""The map of the substructure: what an image's light, fields and numbers become."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FAINT = 0.07  # of the peak: light that a pixel needs to count
KNEE = 0.005  # convergence below which the network's scale is linear, above logarithmic


def light_at(x: Tensor, stride: int) -> Tensor:
    """How much light there is to see substructure by, from 0 to 1.

    Args:
        x: (N, C, H, W) images of sky 0 and peak 1.
        stride: Every how many pixels it is wanted.

    Returns:
        (N, C, h, w): light / (light + 0.07) of the mean over 5 x 5 pixels.
    """
    light = F.avg_pool2d(x, 5, stride, 2).clamp_min(0)
    return light / (light + FAINT)


def enlarged(x: Tensor, height: int, width: int) -> Tensor:
    """A map on a finer grid with the same corners, bilinear."""
    if x.shape[2:] == (height, width):
        return x
    size = (height, width)
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def map_quantities(raw: Tensor) -> Tensor:
    """What the last layer's numbers say.

    Args:
        raw: (N, 4, h, w): with y = log(1 + kappa / KNEE), the median of y, the
            logarithms of how far below and above it the quantiles lie, and the
            logit of the presence.

    Returns:
        (N, 4, h, w): the median of the convergence kappa, its 16 % and 84 % quantiles,
        and the probability of presence.
    """
    raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
    middle, below, above, presence = raw.unbind(1)
    y = torch.stack([middle, middle - below.exp(), middle + above.exp()], 1)
    kappa = KNEE * torch.expm1(y.clamp(0, 12))
    return torch.cat([kappa, presence.sigmoid()[:, None]], 1)
