"""Scores of quantities, on posteriors whose truth is known."""

import math

import pytest
import torch

from lensequiv.evaluation.quantities import (
    calibrated,
    crps,
    pinball,
    score_quantities,
    spread_whole,
    standardised,
    tarp,
)
from lensequiv.plain import Mixture, told_quantiles
from lensequiv.plain import describe_quantities as described
from lensequiv.spec import LEVELS, QuantitiesSpec, Quantity

SPEC = QuantitiesSpec(
    8, 8, 1, (Quantity("radius_arcsec", "arcsec", 1.3, 0.2), Quantity("a", "", 0, 1))
)
N = 4000


def gaussian(means, factors):
    """One Gaussian for each of N lenses."""
    n = len(means)
    factors = torch.as_tensor(factors).expand(n, 1, 2, 2)
    return Mixture(torch.zeros(n, 1), means[:, None], factors)


@pytest.fixture(scope="module")
def honest():
    """Means of posteriors, the right factor of their covariance, and the truths."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(N, 2, generator=generator)
    factor = torch.tensor([[0.5, 0.0], [0.6, 0.3]])
    noise = torch.randn(N, 2, generator=generator) @ factor.T
    units = torch.tensor([[1.3, 0.2], [0.0, 1.0]])
    return means, factor, units[:, 0] + units[:, 1] * (means + noise)


def test_intervals_of_right_posteriors_cover(honest):
    means, factor, truth = honest
    mixture = gaussian(means, factor)
    quantiles = told_quantiles(mixture, described(SPEC.to_config()))
    truth = truth.clone()
    truth[: N // 2, 1] = torch.nan
    radius, a = score_quantities(quantiles, truth, SPEC)
    assert (radius.name, radius.lenses, a.lenses) == ("radius_arcsec", N, N // 2)
    for score in (radius, a):
        assert score.coverage_68 == pytest.approx(0.68, abs=0.025)
        assert score.coverage_95 == pytest.approx(0.95, abs=0.012)
    # Of a normal distribution: its mean deviation, and twice 0.9945 its width.
    spread = 0.2 * 0.5
    assert radius.error == pytest.approx(spread * math.sqrt(2 / math.pi), rel=0.05)
    assert radius.width_68 == pytest.approx(2 * 0.99446 * spread, rel=1e-3)
    wide = spread * math.sqrt(5)
    assert radius.error_of_mean == pytest.approx(
        wide * math.sqrt(2 / math.pi), rel=0.05
    )


def test_levels_mend_posteriors_that_are_too_narrow(honest):
    means, factor, truth = honest
    narrow = gaussian(means, 0.5 * factor)
    half = N // 2
    first, second = (Mixture(*(x[at] for x in narrow)) for at in parts(half))
    before = score_quantities(
        told_quantiles(second, described(SPEC.to_config())), truth[half:], SPEC
    )
    assert before[0].coverage_68 < 0.45
    spec = calibrated(first, truth[:half], SPEC)
    assert spec.quantities[0].levels[0] < LEVELS[0]
    after = score_quantities(
        told_quantiles(second, described(spec.to_config())), truth[half:], spec
    )
    for score in after:
        assert score.coverage_68 == pytest.approx(0.68, abs=0.035)
    few = calibrated(Mixture(*(x[:100] for x in narrow)), truth[:100], SPEC)
    assert few == SPEC


def parts(half):
    return slice(0, half), slice(half, None)


def test_levels_rise_even_if_all_truths_lie_outside(honest):
    means, factor, _ = honest
    spec = calibrated(gaussian(means, factor), torch.full((N, 2), 1e6), SPEC)
    assert list(spec.quantities[0].levels) == sorted(set(spec.quantities[0].levels))


@pytest.mark.slow
def test_joint_posteriors_are_tested_together(honest):
    means, factor, truth = honest
    right, together = gaussian(means, factor), standardised(truth, SPEC)
    generator = torch.Generator().manual_seed(1)
    good = tarp(right.sample(300, generator), together)
    assert good.lenses == N and good.deviation < 0.03
    # The same widths without their correlation: each by itself covers, both do not.
    widths = right.widths()[0, 0]
    apart = gaussian(means, torch.diag(widths))
    assert tarp(apart.sample(300, generator), together).deviation > 2 * good.deviation
    narrow = gaussian(means, 0.5 * factor)
    assert tarp(narrow.sample(300, generator), together).deviation > 0.08
    partly = together.clone()
    partly[0, 0] = torch.nan
    assert tarp(right.sample(50, generator), partly).lenses == N - 1
    with pytest.raises(ValueError, match="for no lens"):
        tarp(right.sample(50, generator), partly * torch.nan)
    with pytest.raises(ValueError, match="expected"):
        tarp(right.sample(50, generator)[..., 0], together)


def test_crps_is_that_of_a_gaussian():
    # Gneiting & Raftery 2007, eq. 21, at the mean: sigma (2 phi(0) - 1 / sqrt(pi)).
    mixture = gaussian(torch.zeros(3, 2), torch.diag(torch.tensor([1.0, 2.0])))
    value = 2 / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi)
    found = crps(mixture, torch.zeros(3, 2))
    assert torch.allclose(found, torch.tensor([value, 2 * value]).expand(3, 2))
    # Of two equal halves, too.
    twice = Mixture(
        torch.full((3, 2), math.log(0.5)), *(torch.cat([x, x], 1) for x in mixture[1:])
    )
    truth = torch.randn(3, 2)
    assert torch.allclose(crps(twice, truth), crps(mixture, truth), atol=1e-6)


def test_quantile_loss():
    told = torch.arange(5.0).expand(1, 1, 5)
    above = pinball(told, torch.tensor([[10.0]]))
    expected = sum(q * (10 - i) for i, q in enumerate(LEVELS)) / 5
    assert float(above) == pytest.approx(expected)


def test_whole_numbers_are_spread():
    spec = QuantitiesSpec(
        8, 8, 1, (Quantity("n", "", 5, 2, whole=True), SPEC.quantities[1])
    )
    truth = torch.tensor([[3.0, 3.0]]).repeat(1000, 1)
    spread = spread_whole(truth, spec)
    assert torch.equal(spread[:, 1], truth[:, 1])
    assert 2.5 <= spread[:, 0].min() < 2.6 and 3.4 < spread[:, 0].max() <= 3.5
    assert torch.equal(spread, spread_whole(truth, spec))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected \(N, Q, 5\)"):
        score_quantities(torch.zeros(3, 2, 4), torch.zeros(3, 2), SPEC)
