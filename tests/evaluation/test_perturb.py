"""`perturb`: one change at a time."""

import numpy as np
import pytest

import lensequiv
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


def test_scores():
    model = lensequiv.from_pretrained("c8-modelF")
    rows = perturb(
        model, "modelF", n=12, seed=3, changes=["none", "rotation by 37 degrees"]
    )
    assert [row.change for row in rows] == ["none", "rotation by 37 degrees"]
    images = simulate("modelF", 12, seed=3)
    answers = model.predict(images.images).probabilities.argmax(1)
    assert rows[0].accuracy == pytest.approx(
        float((answers == images.labels).double().mean())
    )
    for row in rows:
        assert row.images == 12
        assert sum(row.answers.values()) == pytest.approx(1)
        assert 0.5 < row.auc <= 1


def test_bad_requests():
    model = lensequiv.from_pretrained("c8-modelF")
    with pytest.raises(ValueError, match="unknown change 'PSF'; known are none; PSF"):
        perturb(model, "modelF", changes=["PSF"])
    with pytest.raises(ValueError, match="has Noiseless; expected one with PoissonSky"):
        perturb(model, "deeplensesim2")
