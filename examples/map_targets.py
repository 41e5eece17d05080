"""What the head that maps substructure should say, and how far it is from that."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mass_map import WIDTH
from torch import Tensor, nn

from lensequiv.plain import KNEE, light_at
from lensequiv.spec import MapSpec

STRIDE = 4
SCALE = 0.05  # arcsec a pixel, of Model J
RADIUS = 5.0  # pixels: within which a subhalo counts as being at a place
# Of 1e12 solar masses at redshifts 0.5 and 1 the study's Einstein radius is 1.2815
# arcsec (docs/simulation.md); it goes as the square root of the mass.
MASS, EINSTEIN_RADIUS = 1e9, 0.040525
MAP = MapSpec(
    stride=STRIDE,
    smoothing=WIDTH * SCALE,
    radius=RADIUS * SCALE,
    einstein_radius=EINSTEIN_RADIUS,
    mass=MASS,
)
QUANTILES = (0.16, 0.5, 0.84)
DARK = 0.1  # weight of places without light, beside 1 for those with


class Targets(NamedTuple):
    """What a map should say, (N, h, w) each.

    Attributes:
        y: log(1 + kappa / KNEE) of the convergence, smoothed by a Gaussian.
        present: 1 where a heavy subhalo lies within `RADIUS`, else 0.
    """

    y: Tensor
    present: Tensor


def targets(masses: Tensor, size: int) -> Targets:
    """The truth on the map's grid.

    Args:
        masses: (N, K, 3) x, y (pixels from the central pixel) and squared Einstein
            radius (pixels^2) of the point masses.
        size: Side of the network's input in pixels.
    """
    steps = torch.arange(0, size, STRIDE) - size // 2
    # (x or y, N, K, cells)
    offsets = steps - masses[..., :2].movedim(2, 0)[..., None]
    columns, rows = torch.exp(-offsets.square() / (2 * WIDTH**2)).unbind()
    # The integral of kappa over the sky is pi times the squared Einstein radius.
    kappa = (rows * (masses[..., 2:] / (2 * WIDTH**2))).mT @ columns
    heavy = masses[..., 2] >= (EINSTEIN_RADIUS / SCALE) ** 2
    present = torch.zeros_like(kappa)
    for k in range(int(heavy.sum(1).max()) if heavy.any() else 0):
        # The k-th heavy one of each lens, where there are so many.
        which = (heavy.cumsum(1) == k + 1) & heavy
        index = which.int().argmax(1)
        x, y = (o[torch.arange(len(o)), index].square() for o in offsets)
        near = y[:, :, None] + x[:, None, :] <= RADIUS**2
        present += near * which.any(1)[:, None, None]
    return Targets(torch.log1p(kappa / KNEE), present.clamp_max(1))


def map_losses(raw: Tensor, wanted: Targets, x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantile loss of the convergence, and cross-entropy of the presence.

    Both are proper: weights are a function of the image alone.

    Args:
        raw: (N, 4, h, w) of `MapHead.raw`.
        wanted: The truth.
        x: (N, 1, H, W) preprocessed.
    """
    weight = DARK + light_at(x, STRIDE)[:, 0]
    middle, below, above, presence = raw.float().unbind(1)
    quantiles = middle - below.exp(), middle, middle + above.exp()
    loss = torch.zeros_like(middle)
    for q, found in zip(QUANTILES, quantiles, strict=True):
        error = wanted.y - found
        loss = loss + torch.maximum(q * error, (q - 1) * error)
    entropy = F.binary_cross_entropy_with_logits(
        presence, wanted.present, reduction="none"
    )
    total = weight.sum()
    return (weight * loss).sum() / total, (weight * entropy).sum() / total
