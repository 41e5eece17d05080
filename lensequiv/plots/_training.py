"""How a weight was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensequiv.plots._style import (
    KEY,
    PANEL,
    SMALL,
    figure_class,
    finish,
    line_styles,
    tidy,
)
from lensequiv.weights._card_training import all_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_training"]

# Coarse where a panel then has enough of them.
_COARSE = (0.35, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
_FINE = tuple(sorted({*_COARSE, 0.4, 0.45, 0.6, 0.65, 0.75, 0.85, 0.93, 0.97, 0.993}))


def plot_training(info: Mapping[str, Any], *, path: str | Path | None = None) -> Figure:
    """Draws validation ROC AUC and accuracy against the images seen.

    The scale of the vertical axes is that of the logit, on which 0.9, 0.99 and 0.999
    are equally far apart. Where a run started from the weights of another, that one
    comes first and a vertical line parts them; each run has its own validation set.

    Args:
        info: `model.weights_info`, or `pretrained_info(name)["info"]`.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No validation is recorded.
    """
    runs = all_runs(info) if "training" in info else []
    runs = [run for run in runs if run.get("validation")]
    if not runs:
        raise ValueError(
            "info has no training history; expected info['training']['validation'], "
            "as examples/train.py records it"
        )
    figure = figure_class()(figsize=(2 * PANEL, 0.9 * PANEL), layout="constrained")
    auc, accuracy = (figure.add_subplot(1, 2, i) for i in (1, 2))
    classes = list(runs[-1]["validation"][-1]["auc"])
    looks = dict(zip(["micro", *classes], line_styles(1 + len(classes)), strict=True))
    start = 0.0
    for number, run in enumerate(runs):
        history = run["validation"]
        per_step = run["images_seen"] / history[-1]["step"]
        seen = [(start + h["step"] * per_step) / 1000 for h in history]
        for name, look in looks.items():
            label = "micro-average" if name == "micro" else name
            values = [
                h["auc_micro"] if name == "micro" else h["auc"][name] for h in history
            ]
            (line,) = auc.plot(seen, values, **look, markersize=4, linewidth=1.2)
            if number == 0:
                line.set_label(label)
        values = [h["accuracy"] for h in history]
        accuracy.plot(seen, values, **looks["micro"], markersize=4, linewidth=1.2)
        start += run["images_seen"]
        for panel in (auc, accuracy):
            if number:
                panel.axvline(
                    (start - run["images_seen"]) / 1000, color="0.5", linewidth=0.8
                )
            if len(runs) > 1:
                panel.annotate(
                    f"run {number + 1}",
                    ((start - run["images_seen"] / 2) / 1000, 0.01),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    fontsize=SMALL,
                    color="0.35",
                )
    for panel, what in ((auc, "ROC AUC"), (accuracy, "accuracy")):
        panel.set_yscale("logit")
        _set_odds(panel)
        panel.minorticks_off()
        panel.set_xlim(0, 1.02 * start / 1000)
        title = f"{what} on validation images"
        tidy(panel, title=title, x="training images seen / 1000", y=what)
    # Beside the panels: curves may be anywhere in them.
    figure.legend(loc="outside lower center", ncols=len(looks), **KEY)
    return finish(figure, path)


def _set_odds(panel: Any) -> None:
    """Limits and ticks of an axis that is linear in the logit."""
    values = [y for line in panel.lines for y in line.get_ydata() if 0 < y < 1]
    odds = [y / (1 - y) for y in values]
    low, high = min(odds) / 1.6, max(odds) * 1.4
    low, high = low / (1 + low), high / (1 + high)
    coarse, fine = ([t for t in ts if low <= t <= high] for ts in (_COARSE, _FINE))
    shown = coarse if len(coarse) >= 4 else fine
    panel.set_ylim(low, high)
    panel.set_yticks(shown, [f"{t:g}" for t in shown])
