"""Recipes of single telescopes."""

import numpy as np
import pytest
import torch

from lensequiv.simulation import LensStream, get_recipe, simulate
from lensequiv.simulation._draw import draw


@pytest.mark.parametrize("name", ["hst", "euclid"])
def test_what_is_drawn(name):
    recipe = get_recipe(name)
    assert recipe.classes == ("no", "sphere", "vort")
    low, high = recipe.einstein_radius
    for label in range(3):
        p = draw(recipe, label, np.random.default_rng(0), 400)
        assert p["theta_e"].max() <= high
        assert (p["theta_e"] >= low).all() or label
        assert (p["z_source"] > p["z_lens"]).all()
        share = p["substructure_mass"] / p["total_mass"]
        if label == 1:
            # 2 to 7 %, log-uniform: 4 % on average, with a long tail of single halos.
            assert 0.03 < share.mean() < 0.05
            assert p["mass"].max() <= recipe.substructure["sphere"].mass[1]


@pytest.mark.parametrize("name", ["hst", "euclid"])
def test_images(name):
    lenses = simulate(name, 6, seed=0)
    assert lenses.images.shape == (6, 150, 150)
    assert torch.isfinite(lenses.images).all()
    noise = lenses.parameters["dark_variance"] ** 0.5
    assert (lenses.images.amax((1, 2)).numpy() > 5 * noise).all()


@pytest.mark.slow
def test_streams_for_training():
    chunk = LensStream("hst", seed=0, size=113, chunk=24).chunk(0)
    assert chunk.images.shape == (24, 1, 113, 113)
    assert torch.isfinite(chunk.images).all()
    torch.testing.assert_close(chunk.pixel_scale, torch.full((24,), 0.05))
