"""`perturb`: one change at a time."""

from dataclasses import replace

import numpy as np
import pytest

import lensequiv
from lensequiv.domain import OutOfDomainWarning
from lensequiv.evaluation import perturb, perturbations
from lensequiv.simulation import get_recipe, simulate


def of(recipe, name):
    return simulate(perturbations(recipe)[name], 6, seed=1, noise=False)


def test_each_change_is_one_change():
    recipe = get_recipe("modelF")
    plain = simulate(recipe, 6, seed=1, noise=False)
    names = list(perturbations(recipe))
    assert names[0] == "none"
    assert perturbations(recipe)["none"] is recipe
    ring = of(recipe, "ring x 1.2").parameters
    smooth = plain.parameters["mass_theta2"].sum(1) == 0
    np.testing.assert_allclose(
        ring["theta_e"][smooth], 1.2 * plain.parameters["theta_e"][smooth]
    )
    wider = of(recipe, "PSF width x 1.5")
    np.testing.assert_allclose(wider.parameters["psf_sigma"], 1.5 * 0.086)
    for key in ("shear", "source_x", "theta_e", "mass_x"):
        np.testing.assert_allclose(wider.parameters[key], plain.parameters[key])
    noisy = of(recipe, "noise x 2.0").parameters
    # A quarter of the photons: half the signal-to-noise.
    np.testing.assert_allclose(noisy["amplitude"], 104.5 / 4)
    np.testing.assert_allclose(noisy["sky"], 30 / 4)
    angle = np.rad2deg(of(recipe, "shear at any angle").parameters["shear_angle"])
    assert angle.max() > 30


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("sky x 1.5", "sky", 45.0),
        ("brightness x 0.67", "amplitude", 70.015),
        ("source radius x 1.3", "effective_radius", 0.65),
        ("source index x 0.77", "sersic_index", 1.155),
        ("pixel scale x 1.05", "pixel_scale", 0.0525),
    ],
)
def test_what_is_multiplied(change, key, value):
    found = perturbations(get_recipe("modelF"))[change]
    lenses = simulate(found, 3, seed=1, noise=False)
    np.testing.assert_allclose(lenses.parameters[key], value)


def test_a_wider_psf_is_cut_at_as_many_sigma():
    recipe = get_recipe("modelJ")
    sizes = {name: r.psf_size for name, r in perturbations(recipe).items()}
    assert (sizes["none"], sizes["PSF width x 0.8"]) == (11, 11)
    assert (sizes["PSF width x 1.25"], sizes["PSF width x 1.5"]) == (15, 17)
    # The same as a recipe that has that width throughout.
    wide = replace(recipe, psf_sigma=1.5 * 0.086, psf_size=17)
    expected = simulate(wide, 3, seed=4, noise=False).images
    found = simulate(perturbations(recipe)["PSF width x 1.5"], 3, seed=4, noise=False)
    np.testing.assert_allclose(found.images, expected, rtol=1e-5)


def test_light_that_was_subtracted_too_strongly_can_be_simulated():
    recipe = perturbations(get_recipe("modelF"))["lens light, subtracted"]
    expected = simulate(recipe, 12, seed=0, noise=False).images
    assert expected.min() < 0
    images = simulate(recipe, 12, seed=0).images
    assert images.min() == 0 and not images[expected < 0].any()


def test_scores():
    model = lensequiv.from_pretrained("c8-modelF@1")
    changes = ["none", "PSF width x 1.25", "rotation by 37 degrees"]
    rows = perturb(
        model, "modelF", n=12, seed=3, changes=changes, device="cpu", name="mine"
    )
    assert [row.change for row in rows] == changes
    assert [row.within for row in rows] == [False, True, False]
    images = simulate("modelF", 12, seed=3)
    with pytest.warns(OutOfDomainWarning):
        result = model.predict(images.images)
    right = result.probabilities.argmax(1) == images.labels
    assert rows[0].accuracy == pytest.approx(float(right.double().mean()))
    assert rows[0].flagged == pytest.approx(1 / 12)
    for row in rows:
        assert row.images == 12
        assert sum(row.answers.values()) == pytest.approx(1)
        assert 0.5 < row.auc <= 1
    found = rows.to_dict()
    assert found["rows"][0]["accuracy"] == rows[0].accuracy
    assert found["rows"][1]["within"] and not found["rows"][0]["within"]
    assert (found["recipe"], found["seed"], found["precision"]) == (
        "modelF@1",
        3,
        "fp32",
    )
    assert found["weights"]["name"] == "mine"
    assert found["weights"]["recipe"] == "modelF"
    assert len(found["weights"]["sha256"]) == 64
    assert isinstance(rows[1:], tuple) and len(rows) == 3


def test_bad_requests():
    model = lensequiv.from_pretrained("c8-modelF@1")
    with pytest.raises(ValueError, match="unknown change 'PSF'; known are none; PSF"):
        perturb(model, "modelF", changes=["PSF"])
    with pytest.raises(ValueError, match="has Noiseless; expected one with PoissonSky"):
        perturb(model, "deeplensesim2")
    with pytest.raises(ValueError, match="n=2: expected at least 3, one image of each"):
        perturb(model, "modelF", n=2)
    with pytest.raises(ValueError, match="'tpu'"):
        perturb(model, "modelF", n=3, device="tpu")
    model.classes = ("vort", "no", "sphere")
    message = "'modelF' has classes no, sphere, vort; the model's are vort, no, sphere"
    with pytest.raises(ValueError, match=message):
        perturb(model, "modelF", n=3)


@pytest.mark.parametrize(
    ("name", "change", "key", "factor"),
    [
        ("hst", "noise x 2.0", "exposure_time", 0.25),
        ("hst", "brightness x 1.5", "amplitude", 1.5),
        ("hst", "ring x 0.9", "total_mass", 0.81),
        ("hst", "PSF width x 1.25", "psf_width", 1.25),
        ("euclid", "PSF width x 0.75", "psf_fwhm", 0.75),
        ("euclid", "pixel scale x 1.1", "pixel_scale", 1.1),
        ("wide", "source radius x 0.7", "effective_radius", 0.7),
        ("wide", "ring x 1.2", "pixel_scale", 1 / 1.2),
    ],
)
def test_changes_of_telescopes(name, change, key, factor):
    recipe = replace(get_recipe(name), pixels=32)
    plain, changed = (of(recipe, each).parameters for each in ("none", change))
    np.testing.assert_allclose(changed[key], factor * plain[key], rtol=1e-6)
    for same in ("shear", "z_lens", "galaxy_image", "source_angle"):
        np.testing.assert_array_equal(changed[same], plain[same])


@pytest.mark.parametrize("name", ["hst", "wide"])
def test_sky_of_telescopes(name):
    recipe = replace(get_recipe(name), pixels=32)
    plain, brighter = (of(recipe, each).parameters for each in ("none", "sky x 1.5"))
    assert (brighter["dark_variance"] > plain["dark_variance"]).all()
    flat = of(recipe, "halo of axis ratio 0.7").parameters
    np.testing.assert_allclose(flat["halo_axis_ratio"], 0.7)
    lit = of(recipe, "lens light").parameters
    assert (lit["light_amplitude"][:, 0] > 0).all()


def test_other_noise_is_refused():
    with pytest.raises(ValueError, match="has ThreefoldNoise; expected one with"):
        perturbations(get_recipe("deeplensesim1"))
