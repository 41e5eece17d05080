"""Cameras in magnitudes, and instruments by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    INSTRUMENTS,
    Camera,
    LensLight,
    NoSubstructure,
    get_instrument,
    model_f,
    observed_by,
    simulate,
)

ALONE = replace(
    model_f,
    name="alone",
    pixels=60,
    total_mass=1.0,
    shear=(0.0, 0.0),
    source_radius=(0.0, 0.0),
    effective_radius=0.2,
    sersic_index=1.0,
    substructure={"no": NoSubstructure()},
)


def test_magnitudes_are_electrons():
    """A source without a lens has the electrons of its magnitude."""
    camera = Camera(zero_point=26.0, magnitude=(22.0, 24.0), exposure=(500.0, 2000.0))
    lenses = simulate(replace(ALONE, noise=camera), 12, seed=0, noise=False)
    p = lenses.parameters
    expected = 10 ** (0.4 * (26.0 - p["source_magnitude"])) * p["exposure_time"]
    found = lenses.images.sum((1, 2)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0.02)


@pytest.mark.slow
def test_noise_is_lenstronomys():
    from lenstronomy.SimulationAPI.observation_api import SingleBand
    from lenstronomy.SimulationAPI.ObservationConfig.Euclid import Euclid

    vis = get_instrument("euclid-vis")
    recipe = replace(
        observed_by(ALONE, vis, magnitude=(35.0, 35.0), dark_current=0.0), pixels=100
    )
    images = simulate(recipe, 8, seed=1).images
    theirs = SingleBand(**Euclid("VIS").kwargs_single_band())
    time = vis.exposure
    expected = theirs.background_noise * time * vis.pixel_scale / 0.101
    assert float(images.std()) == pytest.approx(expected, rel=0.02)


def test_a_lens_of_its_magnitude():
    """Light goes as the square of the Einstein radius."""
    recipe = replace(
        ALONE,
        pixels=100,
        pixel_scale=0.1,
        einstein_radius=(0.5, 1.5),
        lights=(
            LensLight(
                share=1.0,
                magnitude=(20.0, 20.0),
                index=(1.0, 1.0),
                radius=(0.5, 0.5),
                second=0.0,
                subtracted=0.0,
            ),
        ),
        noise=Camera(zero_point=25.0, magnitude=(39.0, 39.0), exposure=(100.0, 100.0)),
    )
    lenses = simulate(recipe, 6, seed=0, noise=False)
    radius = lenses.parameters["theta_e"]
    assert 0.5 <= radius.min() < radius.max() <= 1.5
    np.testing.assert_allclose(lenses.images.sum((1, 2)), 1e4 * radius**2, rtol=0.02)


def test_saturated_pixels():
    camera = Camera(magnitude=(12.0, 12.0), full_well=5e4, exposures=2)
    images = simulate(replace(ALONE, noise=camera), 3, seed=0).images
    assert float(images.max()) == 1e5


def test_counts():
    """Electrons over the gain, in whole counts, with the noise of every rounding."""
    camera = Camera(magnitude=(30.0, 30.0), read_noise=(5.0, 5.0), exposures=12)
    counting = replace(camera, gain=40.0)
    clean = [
        simulate(replace(ALONE, noise=noise), 4, seed=2, noise=False).images
        for noise in (camera, counting)
    ]
    torch.testing.assert_close(clean[1], clean[0] / 40)
    counts = simulate(replace(ALONE, noise=counting), 40, seed=2)
    assert torch.equal(counts.images, counts.images.round())
    # Sky, twelve read-outs, and twelve roundings.
    sky = 10 ** (0.4 * (25.94 - 22.0)) * 0.05**2 * 2000
    expected = (sky + 12 * 25) / 40**2 + 12 / 12
    assert float(counts.images.var()) == pytest.approx(expected, rel=0.03)


def test_saturated_counts():
    camera = Camera(magnitude=(12.0, 12.0), full_well=5e4, exposures=2, gain=4.0)
    images = simulate(replace(ALONE, noise=camera), 3, seed=0).images
    assert float(images.max()) == 25_000


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_instrument(name):
    """Its pixels sample the PSF, and its zero point is what counts."""
    instrument = get_instrument(name)
    assert 0.9 < instrument.fwhm / instrument.pixel_scale < 5
    assert instrument.source
    recipe = observed_by(ALONE, name, magnitude=(22.0, 22.0))
    lenses = simulate(recipe, 2, seed=0)
    assert lenses.recipe.pixel_scale == instrument.pixel_scale
    noise = lenses.parameters["dark_variance"] ** 0.5
    assert (lenses.images.amax((1, 2)).numpy() > 10 * noise).all()
    # As many electrons per second within the frame as the magnitude says.
    clean = simulate(recipe, 2, seed=0, noise=False).images.sum((1, 2))
    rate = 10 ** (0.4 * (instrument.zero_point - 22.0)) * instrument.exposure
    torch.testing.assert_close(clean, torch.full((2,), rate), rtol=0.06, atol=0)


def test_unknown_instruments_and_numbers():
    with pytest.raises(ValueError, match="did you mean 'jwst-nircam-f150w'"):
        get_instrument("jwst_nircam_f150")
    with pytest.raises(ValueError, match="known are hst-acs-f814w"):
        observed_by(model_f, "chandra")
    with pytest.raises(ValueError, match="sky_brightness="):
        Camera(sky_brightness=(0.0, 22.0))
    with pytest.raises(ValueError, match="full_well="):
        Camera(full_well=0.0)
    with pytest.raises(ValueError, match="gain="):
        Camera(gain=0.0)
    with pytest.raises(ValueError, match="einstein_radius="):
        replace(model_f, einstein_radius=(0.0, 1.0))
