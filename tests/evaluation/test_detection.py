"""Scores of maps, against cases whose answer is known."""

import math

import numpy as np
import pytest
import torch

from lensequiv.evaluation import detection
from lensequiv.inference import SubstructureMap
from lensequiv.simulation import get_recipe
from lensequiv.spec import MapSpec

SPEC = MapSpec(4, 0.2, 0.25, 0.0405, 1e9)


def drawn(*spots, side=21):
    """A map with presence in single cells: (row, column, probability)."""
    presence = torch.zeros(side, side)
    for row, column, value in spots:
        presence[row, column] = value
    blank = torch.zeros(side, side)
    return SubstructureMap(
        blank, blank, blank, presence, SPEC, left=0.0, top=0.0, step=4.0, cell=0.2
    )


def test_thresholds_are_quantiles_of_smooth_lenses():
    scores = np.random.default_rng(0).permutation(np.arange(1000) / 1000)
    for share in (0.1, 0.01, 0.001):
        limit = detection.alarm_threshold(scores, share)
        assert (scores >= limit).mean() == pytest.approx(share)
    with pytest.raises(ValueError, match="at least one lens"):
        detection.alarm_threshold(scores, 0.0005)
    with pytest.raises(ValueError, match="at least one lens"):
        detection.alarm_threshold(scores, 0)


def test_intervals_are_wilsons():
    assert detection.share_interval(0, 0) == (0, 1)
    # (p + 1/2n)/(1 + 1/n) -+ sqrt(p (1 - p)/n + 1/4n^2)/(1 + 1/n)
    low, high = detection.share_interval(5, 10)
    half = math.sqrt(0.025 + 0.0025) / 1.1
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))
    assert detection.share_interval(0, 10)[0] == 0
    assert detection.share_interval(10, 10)[1] == pytest.approx(1)


def test_places_and_what_they_find():
    # Two lenses; the centre of the map is cell (10, 10).
    maps = [drawn((10, 15, 0.9), (3, 10, 0.4)), drawn((10, 10, 0.2))]
    places = detection.find_places(maps, 0.1)
    assert places.lens.tolist() == [0, 0, 1] and places.lenses == 2
    assert places.x == pytest.approx([1.0, 0.0, 0.0])
    assert places.y == pytest.approx([0.0, -1.4, 0.0])
    subhalos = [
        np.array([[1.1, 0.0, 1e10], [-1.0, 0.0, 1e9], [0.0, 0.0, 0.0]]),
        np.array([[0.0, 0.3, 3e9]]),
    ]
    mass, found, apart = detection.found_subhalos(
        places, subhalos, radius=0.5, threshold=0.1
    )
    assert mass.tolist() == [1e10, 1e9, 3e9]
    assert found.tolist() == [True, False, True]
    assert apart[[0, 2]] == pytest.approx([0.1, 0.3]) and math.isinf(apart[1])
    _, found, _ = detection.found_subhalos(places, subhalos, radius=0.5, threshold=0.3)
    assert found.tolist() == [True, False, False]
    with pytest.raises(ValueError, match="subhalos of 1 lenses, but places of 2"):
        detection.found_subhalos(places, subhalos[:1], radius=0.5, threshold=0.3)


def test_completeness_by_mass():
    mass = np.array([1e8, 2e8, 1e9, 5e9, 9e9])
    found = np.array([False, True, True, True, False])
    errors = np.array([np.inf, 0.3, 0.1, 0.2, np.inf])
    rows = detection.completeness(mass, found, [1e8, 1e9, 1e10, 1e11], errors)
    assert [row.number for row in rows] == [2, 3, 0]
    assert [row.share for row in rows[:2]] == pytest.approx([1 / 2, 2 / 3])
    assert rows[1].position_error == pytest.approx(0.15)
    assert rows[2].to_dict() == {
        "low": 1e10,
        "high": 1e11,
        "number": 0,
        "share": None,
        "interval": None,
        "position_error": None,
    }


def test_free_response():
    maps = [drawn((10, 15, 0.9), (3, 10, 0.4)), drawn((10, 10, 0.2))]
    subhalos = [np.array([[1.0, 0.0, 1e10]]), np.array([[0.0, 0.0, 2e9]])]
    curve = detection.free_response(
        detection.find_places(maps, 0.1),
        subhalos,
        radius=0.25,
        least_mass=1e9,
        thresholds=[0.1, 0.3, 0.5],
    )
    assert curve.thresholds.tolist() == [0.5, 0.3, 0.1]
    assert curve.share.tolist() == [0.5, 0.5, 1.0]
    assert curve.false_places.tolist() == [0.0, 0.5, 0.5]
    assert curve.share_at(0.4) == 0.5 and curve.share_at(0.5) == 1.0
    assert curve.share_at(-1) == 0
    with pytest.raises(ValueError, match="no subhalo has 1e\\+12"):
        detection.free_response(
            detection.find_places(maps), subhalos, radius=0.25, least_mass=1e12
        )


def test_the_true_convergence_has_the_mass():
    kappa = detection.true_convergence(
        np.array([0.4]),
        np.array([-0.2]),
        np.array([0.01]),
        shape=(41, 31),
        cell=0.1,
        smoothing=0.2,
    )
    # Cell (18, 19) is the place; the integral is pi theta^2.
    assert np.unravel_index(kappa.argmax(), kappa.shape) == (18, 19)
    assert kappa.sum() * 0.01 == pytest.approx(math.pi * 0.01, rel=1e-3)
    assert kappa.max() == pytest.approx(0.01 / (2 * 0.04))


def test_simulated_subhalos_in_the_coordinates_of_a_map():
    recipe = get_recipe("modelJ")  # of 150 pixels, whose centre lies at 74.5
    parameters = {
        "mass_x": np.array([[0.5, 1e3]]),
        "mass_y": np.array([[-0.5, 1e3]]),
        "mass": np.array([[1e9, 0.0]]),
    }
    one = drawn(side=25)
    centred = SubstructureMap(
        *(one.convergence, one.lower, one.upper, one.presence, SPEC),
        **{"left": 26.0, "top": 26.0, "step": 4.0, "cell": 0.2},
    )
    (placed,) = detection.placed_subhalos(
        parameters, [centred], pixels=recipe.pixels, pixel_scale=recipe.pixel_scale
    )
    # The map's centre is pixel 74, half a pixel left of and below the image's.
    assert placed[0] == pytest.approx([0.525, -0.475, 1e9])
    with pytest.raises(ValueError, match="parameters of 1 lenses, but 2 maps"):
        detection.placed_subhalos(
            parameters, [centred] * 2, pixels=150, pixel_scale=0.05
        )
