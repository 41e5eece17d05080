"""All metrics of one set of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensequiv.evaluation._bootstrap import bootstrap
from lensequiv.evaluation._metrics import (
    BINS,
    Floats,
    Reliability,
    confusion,
    reliability,
    roc_auc,
    roc_curve,
)

__all__ = ["LEVEL", "Evaluation", "score"]

LEVEL = 0.95
"""Coverage of the intervals."""


@dataclass(frozen=True)
class Evaluation:
    """How good the answers to N images of K classes are.

    Attributes:
        classes: Names in the order of the columns.
        images: N.
        auc_micro: ROC AUC over all N K probabilities, each against whether its class
            is the true one.
        auc_macro: Mean of the one-vs-rest AUCs.
        auc: One-vs-rest ROC AUC of each class that has images.
        accuracy: Share of images whose likeliest class is the true one.
        calibration_error: Expected calibration error of the likeliest class's
            probability, in 15 bins of equal width.
        maximum_calibration_error: The largest gap of those bins.
        negative_log_likelihood: Mean of -ln p(true class). *Unit*: nat.
        brier: Mean over the images of the squared distance between probabilities and
            truth, summed over the classes; from 0 to 2.
        confusion: Counts, (K, K) int64: rows are the truth, columns the answer.
        reliability: The bins behind the calibration error.
        roc: False and true positive rates of each class in `auc`, and of `"micro"`.
        intervals: 95 % percentile intervals from the stratified bootstrap, by metric;
            those of one-vs-rest AUCs are named `auc.<class>`. Empty without resamples.
        resamples: Number of resampled sets behind the intervals.
        seed: Of the resampling.
    """

    classes: tuple[str, ...]
    images: int
    auc_micro: float
    auc_macro: float
    auc: Mapping[str, float]
    accuracy: float
    calibration_error: float
    maximum_calibration_error: float
    negative_log_likelihood: float
    brier: float
    confusion: NDArray[np.int64]
    reliability: Reliability
    roc: Mapping[str, tuple[Floats, Floats]]
    intervals: Mapping[str, tuple[float, float]]
    resamples: int
    seed: int

    @property
    def values(self) -> dict[str, float]:
        """Every metric that is a number, by the names that `intervals` uses."""
        return {
            "auc_micro": self.auc_micro,
            **{f"auc.{name}": value for name, value in self.auc.items()},
            "auc_macro": self.auc_macro,
            "accuracy": self.accuracy,
            "calibration_error": self.calibration_error,
            "maximum_calibration_error": self.maximum_calibration_error,
            "negative_log_likelihood": self.negative_log_likelihood,
            "brier": self.brier,
        }

    def summary(self) -> dict[str, Any]:
        """What a weight's card keeps, rounded to five decimals."""
        return {
            "auc_micro": round(self.auc_micro, 5),
            "auc": {name: round(value, 5) for name, value in self.auc.items()},
            "accuracy": round(self.accuracy, 5),
            "calibration_error": round(self.calibration_error, 5),
            "confusion": self.confusion.tolist(),
            "images": self.images,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-able; numbers are not rounded."""
        curve = self.reliability
        return {
            "classes": list(self.classes),
            "images": self.images,
            "auc_micro": self.auc_micro,
            "auc_macro": self.auc_macro,
            "auc": dict(self.auc),
            "accuracy": self.accuracy,
            "calibration_error": self.calibration_error,
            "maximum_calibration_error": self.maximum_calibration_error,
            "negative_log_likelihood": self.negative_log_likelihood,
            "brier": self.brier,
            "confusion": self.confusion.tolist(),
            "intervals": {
                "level": LEVEL,
                "method": "percentiles of a bootstrap stratified by class",
                "resamples": self.resamples,
                "seed": self.seed,
                **{name: list(ends) for name, ends in self.intervals.items()},
            },
            "reliability": {
                "bins": curve.bins,
                "index": curve.index.tolist(),
                "images": curve.images.tolist(),
                "confidence": curve.confidence.tolist(),
                "accuracy": curve.accuracy.tolist(),
            },
            "roc": {
                name: {
                    "false_positive_rate": x.tolist(),
                    "true_positive_rate": y.tolist(),
                }
                for name, (x, y) in self.roc.items()
            },
        }


def score(
    labels: ArrayLike,
    *,
    logits: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    allow_absent: bool = False,
) -> Evaluation:
    """Scores answers against the truth.

    Everything is computed in double precision. `docs/evaluation.md` has the formulas.

    Args:
        labels: True classes, (N,) integers from 0 to K - 1, each at least once unless
            `allow_absent`.
        logits: (N, K); or
        probabilities: (N, K), whose rows add up to 1. One that is 0 for the true class
            counts as 2.2e-16 in the negative log-likelihood, as in scikit-learn.
        classes: Names of the K classes; `"0"`, `"1"`, ... by default.
        resamples: For the intervals; 0 for none.
        seed: Of the resampling.
        allow_absent: Whether classes may have no image, if at least two have some.
            Their columns count like the others; only their own ROC AUCs, which are not
            defined, are left out, and `auc_macro` is the mean of the rest.

    Returns:
        The metrics.

    Raises:
        ValueError: A shape, type or value is not as above; a class has no image, so
            that its ROC AUC is not defined, without `allow_absent`; or both or neither
            of `logits` and `probabilities` are given.
    """
    p, log_p = _distributions(logits, probabilities)
    n, k = p.shape
    names = tuple(map(str, range(k) if classes is None else classes))
    if len(names) != k or len(set(names)) != k:
        raise ValueError(f"classes is {list(names)}; expected {k} different names")
    y = _checked_labels(labels, n, names, allow_absent)
    if resamples < 0:
        raise ValueError(f"resamples={resamples}: expected 0 or more")

    truth = np.arange(k) == y[:, None]
    guess, confidence = p.argmax(1), p.max(1)
    curve = reliability(confidence, guess == y)
    means = {
        "accuracy": (guess == y).astype(np.float64),
        "negative_log_likelihood": -log_p[np.arange(n), y],
        "brier": ((p - truth) ** 2).sum(1),
    }
    present = {i: names[i] for i in np.unique(y).tolist()}
    auc = {name: roc_auc(p[:, i], truth[:, i]) for i, name in present.items()}
    intervals = {}
    if resamples:
        found = bootstrap(p, y, means, bins=BINS, resamples=resamples, seed=seed)
        tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        for key, sample in found.items():
            index = key.removeprefix("auc_")
            key = f"auc.{names[int(index)]}" if index.isdecimal() else key
            low, high = np.quantile(sample, tails)
            intervals[key] = float(low), float(high)
    return Evaluation(
        classes=names,
        images=n,
        auc_micro=roc_auc(p.ravel(), truth.ravel()),
        auc_macro=float(np.mean(list(auc.values()))),
        auc=auc,
        accuracy=float(means["accuracy"].mean()),
        calibration_error=curve.expected_error,
        maximum_calibration_error=curve.maximum_error,
        negative_log_likelihood=float(means["negative_log_likelihood"].mean()),
        brier=float(means["brier"].mean()),
        confusion=confusion(y, guess, k),
        reliability=curve,
        roc={"micro": roc_curve(p.ravel(), truth.ravel())}
        | {name: roc_curve(p[:, i], truth[:, i]) for i, name in present.items()},
        intervals=intervals,
        resamples=resamples,
        seed=seed,
    )


def _distributions(
    logits: ArrayLike | None, probabilities: ArrayLike | None
) -> tuple[Floats, Floats]:
    """Probabilities and their logarithms, (N, K) both."""
    if (logits is None) == (probabilities is None):
        raise ValueError("give either logits or probabilities")
    name = "probabilities" if logits is None else "logits"
    values = np.asarray(probabilities if logits is None else logits)
    if values.ndim != 2 or len(values) == 0 or values.shape[1] < 2:
        raise ValueError(
            f"{name} has the shape {values.shape}; expected (N, K) with N at least 1 "
            "and at least 2 classes"
        )
    values = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise ValueError(
            f"{name}[{bad[0]}] is {values[bad[0]].tolist()}; expected finite numbers"
        )
    if logits is not None:
        shifted = values - values.max(1, keepdims=True)
        powers = np.exp(shifted)
        total = powers.sum(1, keepdims=True)
        return powers / total, shifted - np.log(total)
    # 1e-3: what rounding to half precision leaves.
    off = (np.abs(values.sum(1) - 1) > 1e-3) | (values < 0).any(1)
    if off.any():
        index = int(np.flatnonzero(off)[0])
        raise ValueError(
            f"probabilities[{index}] is {values[index].tolist()}; expected numbers "
            "from 0 to 1 that add up to 1 (or are these logits?)"
        )
    # Not divided by their sums: that would undo ties.
    return values, np.log(np.maximum(values, np.finfo(np.float64).eps))


def _checked_labels(
    labels: ArrayLike, n: int, classes: tuple[str, ...], allow_absent: bool
) -> NDArray[np.int64]:
    y = np.asarray(labels)
    if y.shape != (n,) or y.dtype.kind not in "iu":
        raise ValueError(
            f"labels has the shape {y.shape} and the type {y.dtype}; expected {(n,)} "
            "of integers, one for each row"
        )
    y = y.astype(np.int64)
    outside = np.flatnonzero((y < 0) | (y >= len(classes)))
    if len(outside):
        raise ValueError(
            f"labels[{outside[0]}] is {y[outside[0]]}; expected 0 to {len(classes) - 1}"
        )
    missing = [c for i, c in enumerate(classes) if not (y == i).any()]
    if allow_absent and len(missing) == len(classes) - 1:
        raise ValueError(
            f"labels has images of one class alone ({classes[y[0]]}); expected two at "
            "least, since no ROC AUC is defined otherwise"
        )
    if missing and not allow_absent:
        raise ValueError(
            f"labels has no image of {', '.join(missing)}; expected every class, since "
            "its ROC AUC is not defined otherwise"
        )
    return y
