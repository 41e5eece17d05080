"""What the head that maps substructure should say, and how far it is from that."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mass_map import WIDTH
from torch import Tensor, nn

from lensequiv.plain import KNEE, light_at
from lensequiv.spec import MapSpec

STRIDE = 4
RADIUS = 5.0  # pixels: within which a subhalo counts as being at a place
# Of 1e12 solar masses at redshifts 0.5 and 1 the study's Einstein radius is 1.2815
# arcsec (docs/simulation.md); it goes as the square root of the mass.
MASS, EINSTEIN_RADIUS = 1e9, 0.040525
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


def map_spec(pixel_scale: float, einstein_radius: float, mass: float) -> MapSpec:
    """What a map on images of this pixel scale means.

    Args:
        pixel_scale: *Unit*: arcsec.
        einstein_radius: Of the lightest subhalo that counts as present. *Unit*: arcsec.
        mass: What that is. *Unit*: solar masses.
    """
    return MapSpec(
        stride=STRIDE,
        smoothing=WIDTH * pixel_scale,
        radius=RADIUS * pixel_scale,
        einstein_radius=einstein_radius,
        mass=mass,
    )


def targets(masses: Tensor, size: int, least: float) -> Targets:
    """The truth on the map's grid.

    Args:
        masses: (N, K, 3) x, y (pixels from the central pixel) and squared Einstein
            radius (pixels^2) of the point masses.
        size: Side of the network's input in pixels.
        least: Einstein radius of the lightest mass that counts as present, in pixels.
    """
    steps = torch.arange(0, size, STRIDE, device=masses.device) - size // 2
    # (x or y, N, K, cells)
    offsets = steps - masses[..., :2].movedim(2, 0)[..., None]
    columns, rows = torch.exp(-offsets.square() / (2 * WIDTH**2)).unbind()
    # The integral of kappa over the sky is pi times the squared Einstein radius.
    kappa = (rows * (masses[..., 2:] / (2 * WIDTH**2))).mT @ columns
    heavy = masses[..., 2] >= least**2
    present = torch.zeros_like(kappa)
    lens = torch.arange(len(masses), device=masses.device)
    for k in range(int(heavy.sum(1).max()) if heavy.any() else 0):
        # The k-th heavy one of each lens, where there are so many.
        which = (heavy.cumsum(1) == k + 1) & heavy
        index = which.int().argmax(1)
        x, y = (o[lens, index].square() for o in offsets)
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
    return _losses(raw.float().movedim(1, -1), wanted.y, wanted.present, weight)


def _losses(
    raw: Tensor, y: Tensor, present: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The losses of cells (...), whose `raw` is (..., 4)."""
    middle, below, above, presence = raw.unbind(-1)
    quantiles = middle - below.exp(), middle, middle + above.exp()
    loss = torch.zeros_like(middle)
    for q, found in zip(QUANTILES, quantiles, strict=True):
        error = y - found
        loss = loss + torch.maximum(q * error, (q - 1) * error)
    entropy = F.binary_cross_entropy_with_logits(presence, present, reduction="none")
    total = weight.sum()
    return (weight * loss).sum() / total, (weight * entropy).sum() / total


class Drawn(NamedTuple):
    """What a head says of many lenses, and what it should say; (cells,) each.

    Attributes:
        raw: (cells, 4) of `MapHead.raw`.
        y: As in `Targets`.
        present: As in `Targets`.
        weight: Of the cells: how much light there is.
    """

    raw: Tensor
    y: Tensor
    present: Tensor
    weight: Tensor

    def losses(self) -> tuple[float, float]:
        """Quantile loss and cross-entropy, by the cells' light."""
        quantiles, entropy = _losses(self.raw, self.y, self.present, self.weight)
        return float(quantiles), float(entropy)

    def quantiles(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of y, not below 0."""
        middle, below, above, _ = self.raw.unbind(1)
        low, high = middle - below.exp(), middle + above.exp()
        return low.clamp_min(0), middle.clamp_min(0), high.clamp_min(0)


def drawn(raw: Tensor, wanted: Targets, x: Tensor) -> Drawn:
    """One batch of `Drawn`; arguments as of `map_losses`."""
    weight = light_at(x, STRIDE)[:, 0]
    return Drawn(
        raw.movedim(1, -1).reshape(-1, 4),
        wanted.y.flatten(),
        wanted.present.flatten(),
        weight.flatten(),
    )


def shares(found: Drawn, least: float = 0.01) -> list[float]:
    """How often the convergence lies below, within and above the central 68 %.

    Of the cells, by their light, whose upper quantile reaches `least`: in the others
    the convergence is 0 or next to it, with certainty.
    """
    low, _, high = found.quantiles()
    weight = found.weight * (high >= math.log1p(least / KNEE))
    below, above = (weight * (found.y < low)).sum(), (weight * (found.y > high)).sum()
    total = weight.sum()
    return [float(x / total) for x in (below, total - below - above, above)]


def calibrate_head(head: nn.Module, found: Drawn) -> None:
    """Makes the outer quantiles and the presence of a head true of held-out lenses.

    The outer quantiles are moved by the factor that has the least quantile loss, the
    logit of the presence by a factor and an offset (J. Platt, 1999), all by changing
    the last layer.
    """
    middle, below, above, presence = (v.double() for v in found.raw.unbind(1))
    weight = found.weight.double()
    steps = torch.linspace(-1, 1, 81, dtype=torch.float64)

    def best(width: Tensor, sign: float, q: float) -> float:
        """The logarithm of a width's factor."""
        losses = []
        for shift in steps:
            quantile = (middle + sign * (width + shift).exp()).clamp_min(0)
            error = found.y - quantile
            losses.append((weight * torch.maximum(q * error, (q - 1) * error)).sum())
        return float(steps[int(torch.stack(losses).argmin())])

    shifts = best(below, -1, QUANTILES[0]), best(above, 1, QUANTILES[2])
    scale = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logit = scale[0] * presence + scale[1]
        loss = F.binary_cross_entropy_with_logits(
            logit, found.present.double(), weight=weight
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    last: Any = head.draw[-1]  # type: ignore[index]
    factor, offset = scale.detach().tolist()
    with torch.no_grad():
        last.bias[1] += shifts[0]
        last.bias[2] += shifts[1]
        last.weight[3] *= factor
        last.bias[3] = factor * last.bias[3] + offset
    print(f"widths x {[round(math.exp(s), 3) for s in shifts]}, presence {scale.data}")


def presence_error(found: Drawn, bins: int = 15) -> float:
    """Expected calibration error of the presence, by the cells' light."""
    probability = found.raw[:, 3].sigmoid()
    which = (probability * bins).long().clamp_max(bins - 1)
    gap = found.weight * (found.present - probability)
    summed = torch.zeros(bins).index_add(0, which, gap).abs().sum()
    return float(summed / found.weight.sum())
