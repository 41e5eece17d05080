import numpy as np
import pytest

from lensequiv.evaluation import reliability, roc_auc, roc_curve, score

CLASSES = ["no", "sphere", "vort"]


def answers(n=300, k=3, decimals=None, seed=0):
    """Labels and probabilities; decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.5
    if decimals is not None:
        logits = logits.round(decimals)
    p = np.exp(logits)
    return labels, p / p.sum(1, keepdims=True)


# Values that were worked out by hand are for the quick choice: scikit-learn takes three
# seconds to import.
@pytest.mark.slow
@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_auc_and_curve_equal_scikit_learn(decimals):
    from sklearn import metrics

    rng = np.random.default_rng(1)
    positive = rng.random(500) < 0.2
    scores = rng.normal(size=500) + positive
    if decimals is not None:
        scores = scores.round(decimals)
        assert len(np.unique(scores)) < 80
    auc = roc_auc(scores, positive)
    assert auc == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)
    x, y = roc_curve(scores, positive)
    theirs = metrics.roc_curve(positive, scores)
    # scikit-learn's leaves out fewer of the points on straight lines.
    points = set(zip(theirs[0].round(12), theirs[1].round(12), strict=True))
    assert set(zip(x.round(12), y.round(12), strict=True)) <= points
    area = np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2
    np.testing.assert_allclose(area, auc, rtol=1e-12)
    turns = np.diff(y)[1:] * np.diff(x)[:-1] - np.diff(y)[:-1] * np.diff(x)[1:]
    assert (np.abs(turns) > 1e-12).all()


@pytest.mark.parametrize("scores", [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]])
def test_auc_by_hand(scores):
    positive = np.array([False, False, True, True])
    expected = {0: 0.5, 1: 0.0, -1: 1.0}[scores[0] - scores[-1]]
    assert roc_auc(np.array(scores, float), positive) == expected


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("decimals", [None, 0])
def test_every_metric_equals_scikit_learn(k, decimals):
    from sklearn import metrics

    labels, p = answers(k=k, decimals=decimals)
    found = score(labels, probabilities=p, resamples=0)
    onehot = np.eye(k)[labels]
    per_class = metrics.roc_auc_score(onehot, p, average=None)
    np.testing.assert_allclose(list(found.auc.values()), per_class, rtol=1e-12)
    expected = {
        "auc_micro": metrics.roc_auc_score(onehot, p, average="micro"),
        "auc_macro": metrics.roc_auc_score(onehot, p, average="macro"),
        "accuracy": metrics.accuracy_score(labels, p.argmax(1)),
        "negative_log_likelihood": metrics.log_loss(labels, p),
        "brier": ((p - onehot) ** 2).sum() / len(p),
    }
    for name, value in expected.items():
        assert found.values[name] == pytest.approx(value, abs=1e-12), name
    assert found.confusion.tolist() == (
        metrics.confusion_matrix(labels, p.argmax(1)).tolist()
    )
    assert found.intervals == {}


def test_logits_and_probabilities_agree():
    labels, p = answers()
    one = score(labels, probabilities=p, resamples=50)
    other = score(labels, logits=np.log(p) + 700, resamples=50)
    for name, value in one.values.items():
        assert other.values[name] == pytest.approx(value, abs=1e-9)
    for name, ends in one.intervals.items():
        assert other.intervals[name] == pytest.approx(ends, abs=1e-9)


@pytest.mark.slow
def test_certain_and_wrong_is_finite():
    from sklearn import metrics

    labels = [0, 1, 1]
    p = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    found = score(labels, probabilities=p, resamples=0)
    expected = metrics.log_loss(labels, p)
    assert found.negative_log_likelihood == pytest.approx(expected)
    logits = np.array([[0.0, -2000], [-2000, 0], [0, -2000]])
    assert score(labels, logits=logits, resamples=0).negative_log_likelihood == (
        pytest.approx(2000 / 3)
    )


def test_reliability_by_hand():
    confidence = np.array([0.35, 0.39, 0.4, 0.95, 1.0, 1.0])
    right = np.array([True, False, True, True, True, False])
    curve = reliability(confidence, right, bins=15)
    # Edges at 1/15: 0.35 and 0.39 in bin 5; 0.4 in 6; all the others in 14.
    assert curve.index.tolist() == [5, 6, 14]
    assert curve.images.tolist() == [2, 1, 3]
    np.testing.assert_allclose(curve.confidence, [0.37, 0.4, 2.95 / 3])
    np.testing.assert_allclose(curve.accuracy, [0.5, 1, 2 / 3])
    gaps = [0.13, 0.6, 2.95 / 3 - 2 / 3]
    np.testing.assert_allclose(curve.gaps, gaps)
    expected = (2 * gaps[0] + gaps[1] + 3 * gaps[2]) / 6
    assert curve.expected_error == pytest.approx(expected)
    assert curve.maximum_error == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        ([1.0, 2.0], [True, True], "2 positives and nothing else"),
        ([1.0, 2.0], [False, False], "2 negatives and nothing else"),
        ([1.0, np.nan], [True, False], r"scores\[1\] is NaN"),
        ([1.0], [True, False], r"shape \(1,\) and positive of shape \(2,\)"),
        ([1.0, 2.0], [1, 0], "type int64"),
    ],
)
def test_curves_refuse(scores, positive, message):
    for function in (roc_auc, roc_curve):
        with pytest.raises(ValueError, match=message):
            function(np.array(scores), np.array(positive))


GOOD = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]]


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        ([0, 1, 1], {"probabilities": GOOD}, "no image of vort"),
        ([0, 0, 0], {"probabilities": GOOD}, "no image of sphere, vort"),
        ([0, 1, 3], {"probabilities": GOOD}, r"labels\[2\] is 3; expected 0 to 2"),
        ([0, 1, -1], {"probabilities": GOOD}, r"labels\[2\] is -1"),
        ([0, 1], {"probabilities": GOOD}, r"labels has the shape \(2,\)"),
        ([0.0, 1, 2], {"probabilities": GOOD}, "type float64"),
        ([0, 1, 2], {}, "either logits or probabilities"),
        ([0, 1, 2], {"logits": GOOD, "probabilities": GOOD}, "either logits or"),
        ([0, 1, 2], {"logits": [[0.0, np.nan, 1]] * 3}, r"logits\[0\] is .*nan"),
        ([0, 1, 2], {"logits": [[0.0, np.inf, 1]] * 3}, r"logits\[0\] is .*inf"),
        ([0, 1, 2], {"logits": [0.0, 1.0, 2.0]}, r"shape \(3,\); expected \(N, K\)"),
        ([0, 0, 0], {"logits": np.zeros((3, 1))}, "at least 2 classes"),
        ([], {"logits": np.zeros((0, 3))}, "N at least 1"),
        ([0, 1, 2], {"probabilities": [[0, 1, 2]] * 3}, r"probabilities\[0\] .*logits"),
        ([0, 1, 2], {"probabilities": [[-0.5, 1, 0.5]] * 3}, "from 0 to 1"),
        ([0, 1, 2], {"probabilities": GOOD, "resamples": -1}, "resamples=-1"),
    ],
)
def test_score_refuses(labels, given, message):
    classes = None if "logits" in given and np.ndim(given["logits"]) < 2 else CLASSES
    if "logits" in given and np.shape(given["logits"])[-1:] == (1,):
        classes = ["no"]
    with pytest.raises(ValueError, match=message):
        score(labels, classes=classes, **given)


def test_names_have_to_fit():
    labels, p = answers()
    for names in (["a", "b"], ["a", "b", "b"]):
        with pytest.raises(ValueError, match="expected 3 different names"):
            score(labels, probabilities=p, classes=names)
