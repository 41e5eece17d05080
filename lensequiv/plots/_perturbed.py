"""How weights fare under single changes of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lensequiv.evaluation import Perturbed
from lensequiv.plots._style import (
    KEY,
    SMALL,
    figure_class,
    finish,
    line_styles,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_perturbations"]

_PANELS = {"accuracy": "accuracy", "auc": "micro AUC", "flagged": "share flagged"}


def plot_perturbations(
    results: Sequence[Perturbed] | Mapping[str, Sequence[Perturbed]],
    *,
    path: str | Path | None = None,
) -> Figure:
    """Draws accuracy, AUC and share of flags, a line for each change.

    Args:
        results: From `lensequiv.evaluation.perturb`; or several by name, of the same
            changes in the same order.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There are no results, or those of other changes.
    """
    named = dict(results) if isinstance(results, Mapping) else {"": results}
    changes = [[row.change for row in rows] for rows in named.values()]
    if not changes or not changes[0] or any(other != changes[0] for other in changes):
        raise ValueError(
            f"results of {len(named)} weights, with {[len(c) for c in changes]} "
            "changes; expected the same changes for all, one at least"
        )
    count = len(changes[0])
    figure = figure_class()(figsize=(9, 1.2 + 0.2 * count), layout="constrained")
    places = range(count)
    for column, (key, title) in enumerate(_PANELS.items(), 1):
        panel = figure.add_subplot(1, len(_PANELS), column)
        looks = line_styles(len(named))
        for (name, rows), look in zip(named.items(), looks, strict=True):
            values = [getattr(row, key) for row in rows]
            look = {**look, "linestyle": "none"}
            panel.plot(values, places, label=name, markersize=4, **look)
        tidy(panel, title="", x=title, y="")
        labels = changes[0] if column == 1 else [""] * count
        panel.set_yticks(places, labels, fontsize=SMALL)
        panel.invert_yaxis()
    if named.keys() != {""}:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, **KEY)
    return finish(figure, path)
