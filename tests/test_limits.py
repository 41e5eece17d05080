"""What the benchmarks of the detection limit compute."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lensequiv.evaluation import score
from lensequiv.saliency import substructure_signal
from lensequiv.simulation import get_recipe
from lensequiv.simulation._blocks import simulate_range
from lensequiv.simulation._draw import draw

ROOT = Path(__file__).parents[1]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_one_known_candidate_is_told_as_often_as_half_its_signal(module):
    observer = module("ideal_observer")
    gram = np.diag([9.0, 400.0])  # a sphere of signal 3, a vortex of 20
    rng = np.random.default_rng(0)
    logits, labels, snr = observer.log_evidence(gram, 1, 40_000, rng)
    assert np.bincount(labels).tolist() == [40_000] * 3
    assert [set(snr[labels == k]) for k in range(3)] == [{0.0}, {3.0}, {20.0}]
    wrong = logits.argmax(1) != labels
    for label in (0, 1):
        share = wrong[labels == label].mean()
        assert share == pytest.approx(norm.cdf(-1.5), abs=0.004)
    assert not wrong[labels == 2].any()


def test_not_knowing_which_of_many_costs(module):
    observer = module("ideal_observer")
    gram = 16.0 * np.eye(64)  # signals of 4, all of them different
    wrong = []
    for among in (1, 8, 32):
        rng = np.random.default_rng(0)
        logits, labels, _ = observer.log_evidence(gram, among, 64, rng)
        assert len(labels) == 3 * 32 * 64
        detected = logits[:, 1:].max(1) > 0
        wrong.append((detected != (labels > 0)).mean())
    assert wrong[0] < wrong[1] < wrong[2]


@pytest.mark.parametrize("label", [1, 2])
def test_signal_is_that_of_the_library(module, label):
    recipe = get_recipe("modelJ")
    _, lenses = simulate_range(recipe, label, 5, 0, 2, noise=False)
    found = module("ideal_observer").signal_to_noise(recipe, label, lenses)
    whole = substructure_signal(recipe, lenses, straight=label == 2).snr
    # The library holds the source's shape, and the noise is that of another image.
    np.testing.assert_allclose(
        found, whole.double().square().sum((1, 2)).sqrt(), rtol=0.2
    )


def test_poisson_noise_is_nearly_normal(module):
    recipe, rng = get_recipe("modelJ"), np.random.default_rng([7, 0])
    observer = module("ideal_observer")
    lens = observer.SmoothLens(recipe, draw(recipe, 0, rng, 1))
    drawn = recipe.substructure["sphere"].draw(rng, 8, recipe.total_mass)
    found = lens.differences(*map(torch.from_numpy, drawn), straight=False)
    d = found["known"].double()
    weight = lens.weight.double().flatten()
    smooth = weight**-2
    ratio = torch.log1p(d * weight)  # ln(B / A)
    # Mean log-likelihood ratio under one hypothesis less that under the other: d^2 if
    # the noise were normal.
    apart = (d / weight * ratio).sum(1).sqrt()
    np.testing.assert_allclose(lens.image.flatten(), smooth, rtol=1e-5)
    np.testing.assert_allclose(apart, d.norm(dim=1), rtol=0.06)


def test_knowledge_of_the_lens_can_only_help(module):
    recipe = get_recipe("modelF")
    grams = module("ideal_observer").grams(recipe, 4, np.random.default_rng(1))
    known, fitted = (np.diag(grams[kind]) for kind in ("known", "fitted"))
    assert (fitted <= known).all() and (fitted > 0).all()
    again = module("ideal_observer").grams(recipe, 4, np.random.default_rng(1))
    np.testing.assert_array_equal(grams["known"], again["known"])


def test_scores_are_those_of_evaluation(module):
    scores = module("limit_scores")
    rng = np.random.default_rng(2)
    labels = np.arange(90) % 3
    logits = rng.standard_normal((90, 3)) + 1.5 * np.eye(3)[labels]
    mine = scores.Scores(labels, np.zeros(90), logits).measures()
    expected = score(
        labels, logits=torch.from_numpy(logits), classes=["no", "sphere", "vort"]
    )
    assert mine["1 - AUC"] == pytest.approx(1 - expected.auc_micro, abs=1e-12)
    assert mine["wrong"] == pytest.approx(1 - expected.accuracy)


def test_the_end_of_a_learning_curve_is_found(module):
    curve = module("learning_curve")
    seen = np.array([2e5, 4e5, 8e5, 1.6e6])
    points = list(zip(seen, 0.001 + 0.002 * (seen / 1e6) ** -1.5, strict=True))
    found = curve.end_of(points)
    assert found["a"] == pytest.approx(0.001, rel=0.05)
    assert found["range"][0] < 0.001 < found["range"][1]
