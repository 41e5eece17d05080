from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.saliency import fit_smooth, substructure_signal, turn_substructure
from lensequiv.simulation import PoissonSky, get_recipe, render_lenses, simulate

SMALL = replace(get_recipe("modelF"), pixels=75, pixel_scale=0.1, supersampling=1)


@pytest.fixture(scope="module")
def lenses():
    return simulate(SMALL, 12, seed=4, noise=False)


def of_class(lenses, label):
    chosen = (lenses.labels == label).numpy()
    return {k: v[chosen] for k, v in lenses.parameters.items()}


def test_a_smooth_lens_is_found_again(lenses):
    truth = of_class(lenses, 0)
    image = render_lenses(SMALL, truth)
    start = {
        **truth,
        "theta_e": truth["theta_e"] + 0.02,
        "source_x": truth["source_x"] - 0.03,
        "shear_angle": truth["shear_angle"] + 0.1,
    }
    fitted = fit_smooth(SMALL, start, image, iterations=6)
    for name in ("theta_e", "source_x", "source_y", "shear"):
        np.testing.assert_allclose(fitted[name], truth[name], atol=1e-3)
    signal = substructure_signal(SMALL, truth)
    assert signal.snr.abs().max() < 0.05


@pytest.mark.parametrize("label", [1, 2])
def test_fit_leaves_less_but_not_nothing(lenses, label):
    parameters = of_class(lenses, label)
    squares = [
        substructure_signal(SMALL, parameters, straight=label == 2, iterations=n)
        .snr.square()
        .sum((1, 2))
        for n in (0, 1, 3)
    ]
    assert (squares[0] >= squares[1]).all()
    assert (squares[1] >= squares[2]).all()
    assert (squares[2] < 0.9 * squares[0]).any()
    assert (squares[2] > 100).all()


def test_rings_stand_above_the_sky_of_each_lens():
    """Where the sky is drawn, a bright one is no part of the light."""
    recipe = replace(SMALL, spread={"sky": (0.01, 100.0)})
    lenses = simulate(recipe, 9, seed=4, noise=False)
    dark = replace(SMALL, noise=PoissonSky(0.0), spread={"sky": (1.0, 1.0)})
    same = {**lenses.parameters, "sky": np.zeros(9)}
    assert lenses.parameters["sky"].max() > 300
    with_sky = substructure_signal(recipe, lenses.parameters, iterations=0)
    without = substructure_signal(dark, same, iterations=0)
    assert (with_sky.ring == without.ring).float().mean() > 0.999
    assert with_sky.ring.float().mean() < 0.2


def test_a_detectors_noise_is_that_of_the_dark_too():
    recipe = replace(get_recipe("wide"), pixels=40)
    lenses = simulate(recipe, 3, seed=4, noise=False)
    signal = substructure_signal(recipe, lenses.parameters, iterations=0)
    dark = torch.from_numpy(lenses.parameters["dark_variance"]).float()
    variance = signal.image.clamp_min(1e-6) + dark[:, None, None]
    torch.testing.assert_close(
        signal.snr, (signal.image - signal.smooth) / variance.sqrt()
    )


def test_a_unit_other_than_counts_does_not_change_the_signal():
    """Electrons per second, or electrons: the same lens and the same noise."""
    rate = get_recipe("deeplensesim2-noisy")
    time = rate.noise.exposure * rate.noise.exposures
    lenses = simulate(rate, 3, seed=4, noise=False).parameters
    told = substructure_signal(rate, lenses).snr
    sky = PoissonSky((rate.noise.background * time) ** 2)
    electrons = replace(rate, amplitude=rate.amplitude * time, noise=sky)
    count = substructure_signal(electrons, lenses).snr
    torch.testing.assert_close(told, count, rtol=1e-2, atol=1e-2)
    assert told[1:].square().sum((1, 2)).sqrt().min() > 10


def test_without_noise_there_is_nothing_to_measure_a_signal_against():
    recipe = get_recipe("deeplensesim2")
    lenses = simulate(recipe, 3, seed=4, noise=False).parameters
    with pytest.raises(ValueError, match="'deeplensesim2' has Noiseless for noise"):
        substructure_signal(recipe, lenses)


def test_signal_is_in_units_of_the_noise(lenses):
    signal = substructure_signal(SMALL, of_class(lenses, 1))
    chosen = (lenses.labels == 1).nonzero().flatten()
    assert torch.equal(signal.image, lenses.images[chosen])
    torch.testing.assert_close(
        signal.snr * signal.image.sqrt(),
        signal.image - signal.smooth,
        rtol=1e-3,
        atol=1e-3,
    )
    y, x = torch.meshgrid(*[torch.arange(75) - 37.0] * 2, indexing="ij")
    radius = 0.1 * torch.hypot(x, y)
    assert not signal.ring[:, radius > 3.3].any()
    share = signal.ring[:, (radius - 1.28).abs() < 0.2].float().mean()
    assert share > 0.8


def test_turning_the_substructure_alone(lenses):
    parameters = of_class(lenses, 1)
    turned = turn_substructure(parameters, np.full(4, 90.0))
    np.testing.assert_allclose(turned["mass_x"], -parameters["mass_y"], atol=1e-9)
    np.testing.assert_allclose(turned["mass_y"], parameters["mass_x"], atol=1e-9)
    assert turned["source_x"] is parameters["source_x"]
    back = turn_substructure(turned, np.full(4, -90.0))
    np.testing.assert_allclose(back["mass_x"], parameters["mass_x"], atol=1e-9)
