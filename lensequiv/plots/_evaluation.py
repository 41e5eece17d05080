"""What an evaluation found: ROC curves, confusion matrices, reliability."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.evaluation import Evaluation
from lensequiv.plots._style import (
    COLOURS,
    KEY,
    NORMAL,
    PANEL,
    figure_class,
    finish,
    line_styles,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_confusion", "plot_reliability", "plot_roc"]

Evaluations = Evaluation | Mapping[str, Evaluation]


def plot_roc(evaluations: Evaluations, *, path: str | Path | None = None) -> Figure:
    """Draws ROC curves, micro-average and one against the rest.

    On the left with linear axes, on the right with a logarithmic axis of the false
    positive rate from one false alarm on: what a survey with few lenses looks at.

    Args:
        evaluations: One, or several by title; each has its row.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: `evaluations` is empty.
    """
    named = _named(evaluations)
    rows = len(named)
    figure = figure_class()(
        figsize=(2 * PANEL, 0.9 * PANEL * rows), layout="constrained"
    )
    for row, (title, evaluation) in enumerate(named.items()):
        negatives = evaluation.images * (len(evaluation.classes) - 1)
        for column, scale in enumerate(("linear", "log")):
            panel = figure.add_subplot(rows, 2, 2 * row + column + 1)
            looks = line_styles(len(evaluation.roc))
            for (name, (x, y)), look in zip(evaluation.roc.items(), looks, strict=True):
                look = {**look, "marker": None, "linewidth": 1.4}
                panel.plot(x, y, label=_auc_label(evaluation, name), **look)
            tidy(
                panel,
                title=title if column == 0 else "the same, few false alarms",
                x="false positive rate",
                y="true positive rate",
            )
            if scale == "log":
                panel.set_xscale("log", nonpositive="clip")
                panel.set(xlim=(1 / negatives, 1), ylim=(0, 1.02))
            else:
                panel.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, label="chance")
                panel.set(xlim=(-0.02, 1), ylim=(0, 1.02))
                panel.legend(loc="lower right", **KEY)
    return finish(figure, path)


def plot_confusion(
    evaluations: Evaluations, *, path: str | Path | None = None
) -> Figure:
    """Draws confusion matrices: counts, shaded by the share of the true class.

    Args:
        evaluations: One, or several by title; each has its panel.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: `evaluations` is empty.
    """
    named = _named(evaluations)
    width = max(PANEL, 1.2 + 0.75 * max(len(e.classes) for e in named.values()))
    figure = figure_class()(
        figsize=(width * len(named), 0.85 * width), layout="constrained"
    )
    for i, (title, evaluation) in enumerate(named.items(), 1):
        panel = figure.add_subplot(1, len(named), i)
        counts = evaluation.confusion
        # A class without images has no shares: 0 of 0.
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ticks = range(len(evaluation.classes))
        for row in ticks:
            for column in ticks:
                share = shares[row, column]
                panel.text(
                    column,
                    row,
                    f"{counts[row, column]}\n{100 * share:.1f} %",
                    ha="center",
                    va="center",
                    fontsize=NORMAL,
                    color="white" if share > 0.5 else "black",
                )
        panel.set_xticks(ticks, evaluation.classes)
        panel.set_yticks(ticks, evaluation.classes)
        tidy(panel, title=title, x="answer", y="truth", grid=False)
    return finish(figure, path)


def plot_reliability(
    evaluations: Evaluations, *, path: str | Path | None = None
) -> Figure:
    """Draws accuracy against confidence, and how many images each bin holds.

    Bars are 95 % intervals of the accuracy (Wilson's for a share of the bin's images).

    Args:
        evaluations: One, or several by title; each has its column.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: `evaluations` is empty.
    """
    named = _named(evaluations)
    figure = figure_class()(
        figsize=(PANEL * len(named), 1.15 * PANEL), layout="constrained"
    )
    grid = figure.add_gridspec(2, len(named), height_ratios=[3, 1])
    for column, (title, evaluation) in enumerate(named.items()):
        curve = evaluation.reliability
        panel = figure.add_subplot(grid[0, column])
        panel.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, label="perfect")
        low, high = wilson(curve.accuracy, curve.images)
        panel.errorbar(
            curve.confidence,
            curve.accuracy,
            yerr=np.maximum([curve.accuracy - low, high - curve.accuracy], 0),
            label=f"calibration error {evaluation.calibration_error:.4f}",
            linewidth=1.2,
            markersize=4,
            capsize=2,
            **line_styles(1)[0],
        )
        # No answer has less than an equal share.
        left = max(0.0, 1 / len(evaluation.classes) - 0.05)
        tidy(panel, title=title, x="", y="accuracy")
        panel.set(xlim=(left, 1.01), ylim=(0, 1.03))
        panel.legend(loc="lower right", **KEY)
        below = figure.add_subplot(grid[1, column], sharex=panel)
        width = 1 / curve.bins
        below.bar(
            curve.index * width,
            curve.images,
            width,
            align="edge",
            color=COLOURS[0],
            edgecolor="white",
        )
        below.set_yscale("log")
        below.set_ylim(0.5, 2 * curve.images.max())
        below.minorticks_off()
        tidy(below, title="", x="confidence (probability of the answer)", y="images")
        panel.tick_params(labelbottom=False)
    return finish(figure, path)


def wilson(
    share: NDArray[np.float64], n: NDArray[np.int64], z: float = 1.96
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's interval for a share of n: the ends, (B,) each (Wilson 1927)."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return centre - half, centre + half


def _named(evaluations: Evaluations) -> dict[str, Any]:
    if isinstance(evaluations, Evaluation):
        return {f"{evaluations.images} images": evaluations}
    if not evaluations:
        raise ValueError("evaluations is empty; expected at least one")
    return dict(evaluations)


def _auc_label(evaluation: Evaluation, name: str) -> str:
    if name == "micro":
        return f"micro-average, AUC {evaluation.auc_micro:.4f}"
    return f"{name}, AUC {evaluation.auc[name]:.4f}"
