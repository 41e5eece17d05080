"""Metrics of a classifier, each from its definition, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "Reliability", "confusion", "reliability", "roc_auc", "roc_curve"]

Floats = NDArray[np.float64]

BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017 (arXiv:1706.04599)."""


def roc_auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the rank statistic of Mann and Whitney.

    The share of pairs of a positive and a negative in which the positive has the
    higher score; a tie counts one half. That is the area under `roc_curve` exactly.

    Args:
        scores: (N,), higher for positives.
        positive: (N,), the truth.

    Returns:
        From 0 to 1; 0.5 for scores that say nothing.

    Raises:
        ValueError: There is no positive or no negative, the shapes differ, or a score
            is NaN.
    """
    scores, positive = _checked(scores, positive)
    _, tied, counts = np.unique(scores, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    rank = below + (counts + 1) / 2  # the mean rank of those that tie, from 1
    p = int(positive.sum())
    n = len(positive) - p
    return float((rank[tied][positive].sum() - p * (p + 1) / 2) / (p * n))


def roc_curve(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The ROC curve, without the points that lie on a line between their neighbours.

    Args:
        scores: (N,), higher for positives.
        positive: (N,), the truth.

    Returns:
        False positive rate and true positive rate, from (0, 0) to (1, 1). Joined by
        straight lines they enclose `roc_auc`.

    Raises:
        ValueError: As `roc_auc`.
    """
    scores, positive = _checked(scores, positive)
    order = np.argsort(-scores, kind="stable")
    # Scores that tie are passed together: the last of each group is a point.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.append(0, np.cumsum(positive[order])[last])
    alarms = np.append(0, np.cumsum(~positive[order])[last])
    across, up = np.diff(alarms), np.diff(hits)
    bend = across[1:] * up[:-1] != across[:-1] * up[1:]
    keep = np.concatenate([[True], bend, [True]])
    return alarms[keep] / alarms[-1], hits[keep] / hits[-1]


def _checked(
    scores: Floats, positive: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive)
    if scores.ndim != 1 or scores.shape != positive.shape or positive.dtype != bool:
        raise ValueError(
            f"scores of shape {scores.shape} and positive of shape {positive.shape} "
            f"and type {positive.dtype}; expected (N,) both, positive bool"
        )
    if np.isnan(scores).any():
        index = int(np.flatnonzero(np.isnan(scores))[0])
        raise ValueError(f"scores[{index}] is NaN; expected numbers")
    if positive.all() or not positive.any():
        only = "positives" if positive.any() else "negatives"
        raise ValueError(
            f"{len(positive)} {only} and nothing else; the ROC curve needs both"
        )
    return scores, positive


def confusion(
    labels: NDArray[np.int64], guesses: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """How often each class (row) was answered with each (column): (K, K) int64."""
    counts: NDArray[np.int64] = np.bincount(
        labels * classes + guesses, minlength=classes**2
    ).reshape(classes, classes)
    return counts


@dataclass(frozen=True)
class Reliability:
    """How often the answer is right, by how confident it is.

    Confidence is the probability of the likeliest class. Bins have equal width; those
    that hold no image are left out.

    Attributes:
        index: Which bins these are, from 0, (B,) int64.
        images: How many each holds, (B,) int64.
        confidence: Mean confidence in each, (B,).
        accuracy: Share of right answers in each, (B,).
        bins: How many bins there are, the empty ones included.
    """

    index: NDArray[np.int64]
    images: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    bins: int

    @property
    def gaps(self) -> Floats:
        """|accuracy - confidence| of each bin, (B,)."""
        gaps: Floats = np.abs(self.accuracy - self.confidence)
        return gaps

    @property
    def expected_error(self) -> float:
        """The mean of the gaps, each weighted by its share of the images."""
        return float((self.gaps * self.images).sum() / self.images.sum())

    @property
    def maximum_error(self) -> float:
        """The largest gap, of however few images."""
        return float(self.gaps.max())


def reliability(
    confidence: Floats, right: NDArray[np.bool_], bins: int = BINS
) -> Reliability:
    """Sorts answers by confidence into bins of equal width.

    Args:
        confidence: (N,) from 0 to 1. A value on an edge belongs to the upper bin, 1 to
            the last.
        right: (N,), whether the answer was.
        bins: Their number.

    Returns:
        The bins that are not empty.
    """
    index = bin_of(confidence, bins)
    images = np.bincount(index, minlength=bins)
    kept = np.flatnonzero(images)
    sums = [np.bincount(index, x, bins)[kept] for x in (confidence, right)]
    confidences, accuracies = (s / images[kept] for s in sums)
    return Reliability(kept, images[kept], confidences, accuracies, bins)


def bin_of(confidence: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of each confidence, (N,) int64."""
    index: NDArray[np.int64] = np.minimum(
        (np.asarray(confidence) * bins).astype(np.int64), bins - 1
    )
    return index
