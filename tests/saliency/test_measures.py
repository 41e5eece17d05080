import numpy as np
import pytest
import torch

from lensequiv.saliency import (
    near_substructure,
    rank_correlation,
    share_within,
    smooth_maps,
)

ALL = torch.ones(1, 40, 40, dtype=torch.bool)


def test_rank_correlation_of_constructed_maps():
    a = torch.rand(1, 40, 40)
    assert rank_correlation(a, a.exp(), ALL) == pytest.approx(1)
    assert rank_correlation(a, -a, ALL) == pytest.approx(-1)
    # Independent: within four times 1 / sqrt(n - 1).
    assert abs(rank_correlation(a, torch.rand(1, 40, 40), ALL)[0]) < 0.1
    assert np.isnan(rank_correlation(a, torch.ones(1, 40, 40), ALL)[0])


@pytest.mark.slow
def test_rank_correlation_is_spearmans_with_ties_over_the_mask():
    from scipy.stats import spearmanr

    a, b = (torch.randint(5, (2, 40, 40)).float() for _ in range(2))
    b += a
    mask = torch.rand(2, 40, 40) < 0.3
    found = rank_correlation(a, b, mask)
    for i in range(2):
        expected = spearmanr(a[i][mask[i]], b[i][mask[i]]).statistic
        assert found[i] == pytest.approx(expected)


def test_share_within():
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0], maps[0, 1, 1], maps[0, 3, 3] = 1, -3, 100
    where = torch.zeros(1, 4, 4, dtype=torch.bool)
    where[0, 1:] = True
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    mask[0, 3] = False
    assert share_within(maps, where, mask) == pytest.approx(0.75)


def test_smooth_maps():
    point = torch.zeros(2, 1, 31, 31)
    point[..., 15, 15] = 1
    blurred = smooth_maps(point, 2.0)
    assert blurred.shape == point.shape
    assert blurred.sum().item() == pytest.approx(2, rel=1e-5)
    axis = torch.arange(31.0) - 15
    spread = (blurred[0, 0].sum(0) * axis**2).sum().sqrt()
    assert spread.item() == pytest.approx(2, rel=0.01)
    constant = torch.full((1, 20, 30), 7.0)
    torch.testing.assert_close(smooth_maps(constant, 3.0), constant)
    assert smooth_maps(point, 0) is point
    with pytest.raises(ValueError, match=r"sigma=8\.0"):
        smooth_maps(point, 8.0)


def test_near_substructure():
    parameters = {
        "mass_x": np.array([[1.0, -1.0, 0.0]]),
        "mass_y": np.array([[0.5, 0.0, 0.0]]),
        "mass": np.array([[5e9, 1e8, 0.0]]),
    }
    axis = np.linspace(-2, 2, 41)
    near = near_substructure(parameters, (axis, axis), 0.15)
    assert near[0, 25, 30]
    assert not near[0, 30, 25]
    assert near[0, 20, 10]
    assert int(near.sum()) == 18  # nine grid points within 0.15 of each
    near = near_substructure(parameters, (axis, axis), 0.15, least_mass=1e9)
    assert int(near.sum()) == 9


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="expected one"):
        rank_correlation(torch.rand(1, 4, 4), torch.rand(1, 5, 5), ALL)
