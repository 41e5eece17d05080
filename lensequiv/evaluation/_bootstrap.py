"""Bootstrap intervals of all metrics at once.

A resampled set is the same set with weights: how often each image was drawn. Sorted
once, the scores then give every weighted AUC by a cumulative sum, and everything else
is a matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lensequiv.evaluation._metrics import Floats, bin_of

__all__ = ["bootstrap"]

_AT_ONCE = 2**21  # numbers of a block of weights: 16 MB


def bootstrap(
    probabilities: Floats,
    labels: NDArray[np.int64],
    means: Mapping[str, Floats],
    *,
    bins: int,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Metrics of resampled sets.

    Each class is resampled within itself to its own size (stratified), since a data
    set's designer chose how many images a class has.

    Args:
        probabilities: (N, K).
        labels: (N,) from 0 to K - 1, at least two of them.
        means: What is a mean over the images, (N,) each, by name.
        bins: Of the calibration error.
        resamples: Number of sets, B.
        seed: Of the drawing.

    Returns:
        (B,) by name: `auc_micro`, `auc_0` to `auc_<K-1>` where there are such labels,
            `auc_macro`,
        `calibration_error`, `maximum_calibration_error`, and the names in `means`.
    """
    n, k = probabilities.shape
    truth = np.arange(k) == labels[:, None]
    guess = probabilities.argmax(1)
    present = np.unique(labels).tolist()
    curves = {f"auc_{c}": _Ranked(probabilities[:, c], truth[:, c]) for c in present}
    curves["auc_micro"] = _Ranked(probabilities.ravel(), truth.ravel())
    in_bin = bin_of(probabilities.max(1), bins)[:, None] == np.arange(bins)
    gap = (guess == labels) - probabilities.max(1)
    columns = np.column_stack([*means.values(), in_bin, in_bin * gap[:, None]])
    members = [np.flatnonzero(labels == c) for c in present]

    found: dict[str, list[Floats]] = {}
    generator = np.random.default_rng(seed)
    block = max(1, _AT_ONCE // (n * k))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = _weights(generator, members, n, size)
        values = {
            name: curve.auc(weights.repeat(k, 1) if name == "auc_micro" else weights)
            for name, curve in curves.items()
        }
        values["auc_macro"] = np.mean([values[f"auc_{c}"] for c in present], 0)
        sums = weights @ columns
        values |= {name: sums[:, i] / n for i, name in enumerate(means)}
        counts, gaps = sums[:, len(means) : -bins], np.abs(sums[:, -bins:])
        values["calibration_error"] = gaps.sum(1) / n
        values["maximum_calibration_error"] = (gaps / np.maximum(counts, 1)).max(1)
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _weights(
    generator: np.random.Generator,
    members: list[NDArray[np.int64]],
    n: int,
    size: int,
) -> Floats:
    """How often each image is drawn: (size, n)."""
    weights = np.zeros(size * n)
    row = np.arange(size)[:, None] * n
    for member in members:
        drawn = member[generator.integers(len(member), size=(size, len(member)))]
        weights += np.bincount((drawn + row).ravel(), minlength=size * n)
    return weights.reshape(size, n)


class _Ranked:
    """Scores sorted once, for the AUC under many weightings."""

    def __init__(self, scores: Floats, positive: NDArray[np.bool_]) -> None:
        self.order = np.argsort(scores, kind="stable")
        self.positive = positive[self.order]
        # Where groups of equal scores begin.
        self.starts = np.append(0, np.flatnonzero(np.diff(scores[self.order])) + 1)
        self.ties = len(self.starts) < len(scores)

    def auc(self, weights: Floats) -> Floats:
        """Weighted share of pairs in the right order, ties one half.

        Args:
            weights: (B, N).

        Returns:
            (B,).
        """
        weights = weights[:, self.order]
        positive, negative = weights * self.positive, weights * ~self.positive
        if self.ties:
            positive = np.add.reduceat(positive, self.starts, axis=1)
            negative = np.add.reduceat(negative, self.starts, axis=1)
        below = np.cumsum(negative, 1)
        total = below[:, -1].copy()
        below -= negative / 2
        area: Floats = np.einsum("bn,bn->b", positive, below)
        area /= positive.sum(1) * total
        return area
