"""Tracks of cosmic rays: where they lie, and what they leave."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.simulation import Camera, Detector, model_f, simulate
from lensequiv.simulation._cosmic_rays import add_tracks

QUIET = replace(
    model_f,
    name="quiet",
    pixels=40,
    noise=Camera(
        magnitude=(39.0, 39.0),
        sky_brightness=(39.0, 39.0),
        read_noise=(0.0, 0.0),
        cosmic_rays=3.0,
    ),
)


def one_track(row, column, turn, c2, n=40):
    numbers = torch.tensor([[[row / n, column / n, turn, c2]]], dtype=torch.float64)
    images = torch.zeros(1, n, n, dtype=torch.float64)
    return add_tracks(images, torch.ones(1), numbers)[0]


def test_a_track_along_a_row():
    """c2 = 1 / 26: five pixels long, and sqrt(26) times the charge of a short one."""
    image = one_track(20.5, 10.0, 0.0, 1 / 26)
    row = torch.zeros(40, dtype=torch.float64)
    # An even line of five pixels, diffused by a triangle of half a pixel's width.
    row[9:16] = torch.tensor([0.125, 0.875, 1, 1, 1, 0.875, 0.125])
    torch.testing.assert_close(
        image[20], row * 700 * 26**0.5 / 5, rtol=0.005, atol=1e-6
    )
    assert float(image.sum()) == pytest.approx(700 * 26**0.5)
    assert float(image[20].sum()) == pytest.approx(700 * 26**0.5)
    between = one_track(20.0, 10.0, 0.0, 1 / 26)
    torch.testing.assert_close(between[19], between[20])
    torch.testing.assert_close(between[19] + between[20], image[20])


@pytest.mark.parametrize("turn", [0.0, 0.21, 0.5, 0.63, 0.9])
@pytest.mark.parametrize("c2", [1e-9, 0.01, 0.3, 1.0])
def test_charge_and_direction(turn, c2):
    image = one_track(40.3, 39.1, turn, c2, n=80)
    kept = max(c2, 1e-3)
    assert float(image.sum()) == pytest.approx(700 / kept**0.5)
    # The centroid is half a length away.
    reach, angle = (1 / kept - 1) ** 0.5 / 2, 2 * np.pi * turn
    at = torch.arange(80) + 0.5
    x = float((image.sum(0) * at).sum() / image.sum())
    y = float((image.sum(1) * at).sum() / image.sum())
    assert x == pytest.approx(39.1 + reach * np.cos(angle), abs=1e-6)
    assert y == pytest.approx(40.3 + reach * np.sin(angle), abs=1e-6)


def test_as_many_as_were_drawn():
    """Nothing else is in these images, and images do not depend on their batch."""
    lenses = simulate(QUIET, 60, seed=3)
    number = lenses.parameters["cosmic_rays"]
    assert number.mean() == pytest.approx(3.0, abs=0.7)
    charge = lenses.images.sum((1, 2)).numpy()
    assert (charge[number == 0] < 1).all()
    # 700 and more for each, less what leaves the frame.
    assert (charge[number > 0] > 300).mean() > 0.95
    fewer = simulate(QUIET, 6, seed=3).images
    assert torch.equal(fewer[:2], lenses.images[:2])


@pytest.mark.slow
def test_a_device_draws_as_many():
    rays = replace(QUIET.noise, cosmic_rays=2.0)
    drawn = {
        name: torch.zeros(500, dtype=torch.float64)
        for name in (
            "dark_variance",
            "correlation",
            "gradient_right",
            "gradient_down",
            "defects",
        )
    }
    rng = np.random.default_rng(0)
    drawn["noiseless"] = torch.ones(500, dtype=torch.float64)
    drawn["cosmic_rays"] = torch.from_numpy(rng.poisson(2.0, 500).astype(float))
    images = rays.add_batch(
        torch.zeros(500, 60, 60), drawn, torch.Generator().manual_seed(1)
    )
    # A mean track has 1400 electrons; the frame cuts some of the longest.
    assert float(images.sum()) / 1000 == pytest.approx(1330, rel=0.12)


def test_off_by_default_and_checked():
    """Other draws are the same with and without."""
    noise = Detector()
    recipe = replace(QUIET, noise=noise)
    without = simulate(recipe, 6, seed=0)
    assert "cosmic_rays" not in without.parameters
    struck = simulate(replace(recipe, noise=replace(noise, cosmic_rays=1.0)), 6, seed=0)
    clean = struck.parameters["cosmic_rays"] == 0
    assert 0 < clean.sum() < 6
    assert torch.equal(without.images[clean], struck.images[clean])
    with pytest.raises(ValueError, match="cosmic_rays="):
        Camera(cosmic_rays=-1.0)
