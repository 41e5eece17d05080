"""How well quantities of lenses are told: errors, coverage, joint posteriors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lensequiv.plain import Mixture
from lensequiv.spec import LEVELS, QuantitiesSpec

__all__ = [
    "QuantityScore",
    "Tarp",
    "calibrated",
    "crps",
    "pinball",
    "score_quantities",
    "spread_whole",
    "standardised",
    "tarp",
]

_FEWEST = 200  # lenses that levels can be taken from
_EDGE = 1e-4  # levels keep this distance from 0 and 1


class QuantityScore(NamedTuple):
    """How well one quantity is told.

    Attributes:
        name: Of the quantity, with its unit.
        lenses: For which it is defined.
        error: Mean absolute error of the median.
        error_of_mean: The same if the mean of the truths were told of every lens.
        coverage_68: Share of the truths within the central 68 % interval.
        coverage_95: Share within the central 95 % interval.
        width_68: Mean width of the central 68 % interval.
        pinball: Mean quantile loss of the five quantiles, see `pinball`.
    """

    name: str
    lenses: int
    error: float
    error_of_mean: float
    coverage_68: float
    coverage_95: float
    width_68: float
    pinball: float


class Tarp(NamedTuple):
    """Coverage of a joint posterior; see `tarp`.

    Attributes:
        credibility: (L,) from 0 to 1.
        coverage: (L,) share of the lenses whose truth lies within regions of that
            credibility.
        deviation: Largest distance of the two.
        lenses: For which all quantities are defined.
    """

    credibility: Tensor
    coverage: Tensor
    deviation: float
    lenses: int


def spread_whole(truth: Tensor, spec: QuantitiesSpec, *, seed: int = 0) -> Tensor:
    """Numbers of things, spread evenly over half below to half above.

    A density cannot have probability at whole numbers alone.

    Args:
        truth: (N, Q); NaN where a quantity is not defined.
        spec: Says which of them are numbers of things.
        seed: Of the random numbers.

    Returns:
        A copy.
    """
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(truth.shape, generator=generator) - 0.5
    whole = torch.tensor([float(q.whole) for q in spec.quantities])
    return truth + (spread * whole).to(truth)


def standardised(truth: Tensor, spec: QuantitiesSpec) -> Tensor:
    """Quantities in the units of the head: (N, Q) to (N, Q)."""
    units = torch.tensor([[q.mean, q.scale] for q in spec.quantities]).to(truth)
    return (truth - units[:, 0]) / units[:, 1]


def pinball(quantiles: Tensor, truth: Tensor) -> Tensor:
    """Quantile loss, a mean over the five levels; proper, in the quantity's unit.

    Args:
        quantiles: (N, Q, 5) at `lensequiv.spec.LEVELS`.
        truth: (N, Q).

    Returns:
        (N, Q).
    """
    levels = torch.tensor(LEVELS).to(quantiles)
    error = truth[..., None] - quantiles
    return torch.maximum(levels * error, (levels - 1) * error).mean(-1)


def crps(mixture: Mixture, truth: Tensor) -> Tensor:
    """Continuous ranked probability score of each quantity by itself.

    In closed form for mixtures of Gaussians (Grimit et al. 2006, eq. 4).

    Args:
        mixture: Of N lenses.
        truth: (N, Q) in its units.

    Returns:
        (N, Q) in its units.
    """
    weights, means, widths = mixture.log_weights.exp(), mixture.means, mixture.widths()

    def apart(mean: Tensor, width: Tensor) -> Tensor:
        z = mean / width
        density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
        return 2 * width * density + mean * torch.erf(z / math.sqrt(2))

    away = (weights[..., None] * apart(truth[:, None] - means, widths)).sum(1)
    between = apart(
        means[:, :, None] - means[:, None],
        (widths[:, :, None].square() + widths[:, None].square()).sqrt(),
    )
    pairs = weights[:, :, None] * weights[:, None]
    return away - 0.5 * (pairs[..., None] * between).sum((1, 2))


def score_quantities(
    quantiles: Tensor, truth: Tensor, spec: QuantitiesSpec, *, seed: int = 0
) -> list[QuantityScore]:
    """Scores of all quantities, one by one.

    Args:
        quantiles: (N, Q, 5) as `LensNetwork.forward_quantities` returns them.
        truth: (N, Q); NaN where a quantity is not defined.
        spec: Of the quantities.
        seed: See `spread_whole`, which coverage and quantile loss need.

    Returns:
        One score for each quantity; NaN where it is defined for no lens.

    Raises:
        ValueError: The shapes do not fit.
    """
    n, q = truth.shape
    if tuple(quantiles.shape) != (n, q, len(LEVELS)) or q != len(spec.quantities):
        raise ValueError(
            f"quantiles {tuple(quantiles.shape)} and truth {tuple(truth.shape)} of "
            f"{len(spec.quantities)} quantities: expected (N, Q, {len(LEVELS)}) and "
            "(N, Q)"
        )
    quantiles, truth = quantiles.double().cpu(), truth.double().cpu()
    spread = spread_whole(truth, spec, seed=seed)
    scores = []
    for i, quantity in enumerate(spec.quantities):
        known = ~truth[:, i].isnan()
        told, true, even = quantiles[known, i], truth[known, i], spread[known, i]
        inside = [
            (told[:, low] <= even) & (even <= told[:, high])
            for low, high in ((1, 3), (0, 4))
        ]
        values = [
            (told[:, 2] - true).abs(),
            (true - true.mean()).abs(),
            *(where.double() for where in inside),
            told[:, 3] - told[:, 1],
            pinball(told[:, None], even[:, None])[:, 0],
        ]
        numbers = [float(value.mean()) for value in values]
        scores.append(QuantityScore(quantity.name, int(known.sum()), *numbers))
    return scores


def calibrated(
    mixture: Mixture, truth: Tensor, spec: QuantitiesSpec, *, seed: int = 0
) -> QuantitiesSpec:
    """The record with levels at which the quantiles were true of held-out lenses.

    Where the truths lie in the head's distributions, as probabilities, is uniform if
    these are right; the levels are the quantiles of what was found in its place
    (Kuleshov et al. 2018, arXiv:1807.00263).

    Args:
        mixture: What the head says of N lenses like the training ones.
        truth: (N, Q) in the quantities' units; NaN where one is not defined.
        spec: Of the head.
        seed: See `spread_whole`.

    Returns:
        A changed copy; quantities that are defined for fewer than 200 of the lenses
        keep their levels.
    """
    from dataclasses import replace

    even = standardised(spread_whole(truth, spec, seed=seed), spec)
    chance = mixture.below(even.to(mixture.means)[..., None])[..., 0].double().cpu()
    quantities = []
    for i, quantity in enumerate(spec.quantities):
        known = chance[:, i][~chance[:, i].isnan()]
        if len(known) >= _FEWEST:
            levels = known.quantile(torch.tensor(LEVELS, dtype=known.dtype))
            levels = levels.clamp(_EDGE, 1 - _EDGE)
            # No two are equal, however few lenses there were.
            steps = torch.arange(len(LEVELS)) * 1e-6
            levels = (levels.cummax(0).values + steps).clamp(max=1 - 1e-5 + steps)
            quantity = replace(quantity, levels=tuple(levels.tolist()))
        quantities.append(quantity)
    return replace(spec, quantities=tuple(quantities))


def tarp(samples: Tensor, truth: Tensor, *, seed: int = 0, steps: int = 50) -> Tarp:
    """Tests of accuracy with random points: coverage of joint posteriors.

    For every lens a point is drawn at random; the share of the posterior that lies
    nearer to it than the truth is uniform if, and only if, posteriors are right
    (Lemos et al. 2023, arXiv:2302.03026).

    Args:
        samples: (N, S, Q) draws from the posterior of each lens, in units in which the
            quantities have about the same spread.
        truth: (N, Q) likewise; lenses with a NaN are left out.
        seed: Of the points, which are uniform in the truths' bounding box.
        steps: Number of credibilities.

    Returns:
        Coverage at credibilities from 0 to 1.

    Raises:
        ValueError: The shapes do not fit, or all quantities are defined for no lens.
    """
    if samples.ndim != 3 or samples.shape[::2] != truth.shape:
        raise ValueError(
            f"samples {tuple(samples.shape)} and truth {tuple(truth.shape)}: expected "
            "(N, S, Q) and (N, Q)"
        )
    known = ~truth.isnan().any(1)
    if not bool(known.any()):
        raise ValueError("truth: for no lens are all quantities defined")
    samples, truth = samples[known].double().cpu(), truth[known].double().cpu()
    generator = torch.Generator().manual_seed(seed)
    low, high = truth.amin(0), truth.amax(0)
    drawn = torch.rand(truth.shape, generator=generator, dtype=truth.dtype)
    points = low + (high - low) * drawn
    far = (truth - points).square().sum(1)
    nearer = (samples - points[:, None]).square().sum(2) < far[:, None]
    shares = nearer.double().mean(1)
    credibility = torch.linspace(0, 1, steps + 1, dtype=truth.dtype)
    coverage = (shares[:, None] <= credibility).double().mean(0)
    coverage[0] = 0.0
    return Tarp(
        credibility,
        coverage,
        float((coverage - credibility).abs().max()),
        len(truth),
    )
