"""Errors against angle, and a map of the embeddings of turned lenses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lensequiv.equivariance import Orbits, Report, project
from lensequiv.plots._style import COLOURS, KEY, figure_class, finish, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_equivariance", "plot_projection"]

_STYLES = ("-", "--", ":", "-.")


def plot_equivariance(
    reports: Sequence[Report],
    *,
    quantity: str = "logits",
    scale: Literal["linear", "log"] = "linear",
    path: str | Path | None = None,
) -> Figure:
    """Draws the error against the angle by which lenses were rendered, a curve each.

    Reports with noise are dotted, in the colour of the same model's report without.

    Args:
        reports: From `lensequiv.equivariance.Orbits.report`.
        quantity: `"logits"` or `"embedding"`.
        scale: Of the axis of errors. `"log"` shows multiples of 90 degrees beside the
            angles between them; zeros are left out of it.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There is no report, or one has not this quantity, or no angles;
            or another scale.
    """
    if scale not in ("linear", "log"):
        raise ValueError(f"scale={scale!r:.40}: expected 'linear' or 'log'")
    if not reports:
        raise ValueError("reports is empty; expected at least one")
    make = figure_class()
    figure = make(figsize=(7.0, 4.6), layout="constrained")
    panel = figure.add_subplot()
    models = list(dict.fromkeys(report.model for report in reports))
    largest = 0.0
    for report in reports:
        if not report.kind.startswith("re-rendered"):
            raise ValueError(
                f"{report.model}: a report on the {report.kind}; expected one on "
                "re-rendered lenses"
            )
        rows = sorted(report.of(quantity), key=lambda row: row.element.angle)
        angles = np.array([row.element.angle for row in rows])
        errors = np.array([row.error for row in rows])
        largest = max(largest, angles.max())
        noisy = report.kind == "re-rendered with noise"
        number = models.index(report.model)
        style = ":" if noisy else _STYLES[number // len(COLOURS) % 2]
        panel.plot(
            angles,
            errors if scale == "linear" else np.where(errors > 0, errors, np.nan),
            style,
            marker=None if noisy else "o",
            markersize=2.5,
            linewidth=1.2,
            color=COLOURS[number % len(COLOURS)],
            label=f"{report.model}, with noise" if noisy else report.model,
        )
    for angle in np.arange(0, largest + 1, 90):
        panel.axvline(angle, color="0.85", linewidth=0.8, zorder=0)
    panel.set_yscale(scale)
    if scale == "linear":
        panel.set_ylim(bottom=0)
    panel.set_xticks(np.arange(0, largest + 1, 45))
    tidy(
        panel,
        title="",
        x="angle of the rendered lens (degrees)",
        y=f"relative change of the {quantity}",
    )
    # Below: curves may be anywhere in the panel, and a column is narrow.
    figure.legend(loc="outside lower center", ncols=min(len(reports), 3), **KEY)
    return finish(figure, path)


def plot_projection(
    orbits: Sequence[Orbits],
    *,
    method: Literal["pca", "umap"] = "pca",
    path: str | Path | None = None,
) -> Figure:
    """Draws embeddings of turned lenses in a plane, a panel for each network.

    Every lens is a closed trail, coloured by its class; where the network is invariant
    the trail is a dot. The title has the spread, which the plane does not distort.

    Args:
        orbits: From `lensequiv.equivariance.orbits`, of the same lenses.
        method: See `lensequiv.equivariance.project`.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib, or umap-learn for `"umap"`, is not installed.
        ValueError: There are no orbits, or there are fewer than two lenses.
    """
    if not orbits:
        raise ValueError("orbits is empty; expected at least one")
    make = figure_class()
    columns = min(len(orbits), 4)
    rows = -(-len(orbits) // columns)
    figure = make(figsize=(2.9 * columns, 3.1 * rows), layout="constrained")
    for i, orbit in enumerate(orbits):
        panel = figure.add_subplot(rows, columns, i + 1)
        points = project(orbit.embeddings, method)
        for label, name in enumerate(orbit.lenses.classes):
            colour = COLOURS[label % len(COLOURS)]
            mine = points[:, orbit.lenses.labels.numpy() == label]
            for lens in mine.swapaxes(0, 1):
                panel.plot(*lens.T, "-", color=colour, linewidth=0.5, alpha=0.6)
            panel.plot(*mine.reshape(-1, 2).T, ".", color=colour, markersize=2)
            panel.plot([], [], "o", color=colour, markersize=4, label=name)
        panel.set_title(f"{orbit.model}\nspread {orbit.spread:.2g}", fontsize=9)
        panel.set(xticks=[], yticks=[])
        panel.set_aspect("equal", adjustable="datalim")
        axis = "component" if method == "pca" else "UMAP axis"
        panel.set_xlabel(f"{axis} 1", fontsize=7)
        panel.set_ylabel(f"{axis} 2", fontsize=7)
        if i == 0:
            panel.legend(fontsize=7, title="class", title_fontsize=7)
    return finish(figure, path)
