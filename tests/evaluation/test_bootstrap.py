import json

import numpy as np
import pytest

from lensequiv.evaluation import score
from lensequiv.evaluation._bootstrap import _weights, bootstrap


def answers(n=90, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(n) % 3)
    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), labels] += 1.5
    if decimals is not None:
        logits = logits.round(decimals)
    p = np.exp(logits)
    return labels, p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("decimals", [None, 0])
def test_weights_are_the_same_as_drawing_the_images(decimals):
    labels, p = answers(decimals=decimals)
    right = (p.argmax(1) == labels).astype(float)
    found = bootstrap(p, labels, {"accuracy": right}, bins=15, resamples=8, seed=5)
    members = [np.flatnonzero(labels == c) for c in range(3)]
    weights = _weights(np.random.default_rng(5), members, len(labels), 8)
    for b, weight in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(len(labels)), weight)
        assert np.bincount(labels[drawn]).tolist() == [30, 30, 30]
        one = score(labels[drawn], probabilities=p[drawn], resamples=0)
        for name in ("accuracy", "calibration_error", "maximum_calibration_error"):
            assert found[name][b] == pytest.approx(one.values[name], abs=1e-12)
        for name in ("auc_micro", "auc_macro"):
            assert found[name][b] == pytest.approx(one.values[name], abs=1e-12)
        for c, value in enumerate(one.auc.values()):
            assert found[f"auc_{c}"][b] == pytest.approx(value, abs=1e-12)


def test_seed_decides():
    labels, p = answers()
    one, two, other = (
        score(labels, probabilities=p, resamples=100, seed=s).intervals
        for s in (1, 1, 2)
    )
    assert one == two and one != other


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say():
    # What is true is measured on many more images.
    labels, p = answers(n=30000, seed=99)
    truth = score(labels, probabilities=p, resamples=0)
    inside = {"auc_micro": 0, "auc.1": 0, "accuracy": 0, "brier": 0}
    runs = 60
    for seed in range(runs):
        y, q = answers(n=150, seed=seed)
        found = score(y, probabilities=q, resamples=100, seed=seed)
        for name in inside:
            low, high = found.intervals[name]
            inside[name] += low <= truth.values[name] <= high
    # Three standard deviations of a binomial of 60 around 0.95 are 0.084.
    assert all(0.866 <= n / runs <= 1 for n in inside.values()), inside


def test_intervals_hold_the_value_and_shrink():
    wide = _scored(90)
    narrow = _scored(2250)
    for name in ("auc_micro", "auc_macro", "auc.0", "accuracy", "brier"):
        low, high = wide.intervals[name]
        assert low <= wide.values[name] <= high
        a, b = narrow.intervals[name]
        assert b - a < 0.3 * (high - low)


def _scored(n):
    labels, p = answers(n)
    return score(labels, probabilities=p, resamples=200)


def test_to_dict_is_json():
    labels, p = answers()
    found = score(labels, probabilities=p, classes=["a", "b", "c"], resamples=20)
    text = json.dumps(found.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert back["auc"] == dict(found.auc)
    assert back["intervals"]["auc.b"] == list(found.intervals["auc.b"])
    assert back["intervals"]["resamples"] == 20
    assert np.sum(back["confusion"]) == 90
    assert back["roc"]["micro"]["true_positive_rate"][-1] == 1
    assert sum(back["reliability"]["images"]) == 90


def test_summary_is_rounded():
    labels, p = answers()
    found = score(labels, probabilities=p, resamples=0)
    summary = found.summary()
    assert summary["auc_micro"] == round(found.auc_micro, 5) != found.auc_micro
    assert list(summary) == [
        "auc_micro",
        "auc",
        "accuracy",
        "calibration_error",
        "confusion",
        "images",
    ]
