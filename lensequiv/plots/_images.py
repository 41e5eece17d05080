"""Images: with what a model says about them, and samples of simulated sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.inference import Prediction
from lensequiv.plots._style import (
    COLOURS,
    brightness_bar,
    draw_image,
    figure_class,
    finish,
    scale_bar,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lensequiv.simulation import Simulation

__all__ = ["plot_predictions", "plot_samples"]

_ALARM = "#B22222"


def plot_predictions(
    images: list[NDArray[np.float32]],
    prediction: Prediction,
    *,
    path: str | Path | None = None,
    columns: int = 6,
    pixel_scale: float | None = None,
) -> Figure:
    """Draws images with the probability of each class under them.

    Images unlike the training images have a red frame, and say so.

    Args:
        images: (H, W) or (C, H, W) each, as many as were predicted; the first channel
            is drawn, from its 25 % to its 99.9 % quantile with a square-root stretch.
        prediction: What `predict` returned for them.
        path: Where to save the figure; the ending decides the format.
        columns: Images in a row.
        pixel_scale: If given, axes are in arcsec, and each image has a scale bar.
            *Unit*: arcsec/pixel.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The number of images is not the prediction's.
    """
    if len(images) != len(prediction):
        raise ValueError(f"{len(images)} images, but {len(prediction)} predictions")
    make = figure_class()
    titles = _titles(prediction)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = make(figsize=(2.1 * columns + 0.5, 2.9 * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    panels = []
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        panel = figure.add_subplot(grid[2 * row, column])
        plane = np.atleast_3d(image.T).T[0]
        drawn = draw_image(panel, plane, pixel_scale)
        if pixel_scale is not None:
            scale_bar(panel, plane.shape[1] * pixel_scale)
        if prediction.notes[i]:
            _flag(panel, prediction, i)
        panel.set_title(titles[i][-28:], fontsize=8)
        panels.append(panel)
        _draw_bars(figure.add_subplot(grid[2 * row + 1, column]), prediction, i)
    brightness_bar(figure, drawn, panels)
    return finish(figure, path)


def _flag(panel: Any, prediction: Prediction, i: int) -> None:
    """Frames an image that is unlike the training images, and says so in it."""
    for spine in panel.spines.values():
        spine.set(color=_ALARM, linewidth=2)
    told = "unlike training images"
    if prediction.ood_score is not None and prediction.ood_score[i] > 1:
        told += f"\nscore {prediction.ood_score[i]:.3g}"
    panel.text(
        *(0.5, 0.97, told),
        transform=panel.transAxes,
        ha="center",
        va="top",
        fontsize=7,
        color="white",
        bbox={"facecolor": _ALARM, "edgecolor": "none", "pad": 1.5},
    )


def _draw_bars(bars: Any, prediction: Prediction, i: int) -> None:
    """The probabilities of an image, as bars and numbers."""
    values, classes = prediction.probabilities[i].numpy(), prediction.classes
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(classes))]
    bars.barh(classes, values, color=colours)
    for k, value in enumerate(values):
        bars.text(value + 0.03, k, f"{value:.2f}", va="center", fontsize=7)
    bars.set(xlim=(0, 1.25), ylim=(len(classes) - 0.5, -0.5), xticks=[0, 0.5, 1])
    bars.set_xlabel("probability", fontsize=7, labelpad=0)
    bars.tick_params(labelsize=7)
    bars.spines[["top", "right"]].set_visible(False)


def plot_samples(
    simulations: Sequence[Simulation],
    *,
    each: int = 2,
    path: str | Path | None = None,
) -> Figure:
    """Draws the first images of each class: a row for each simulated set.

    Args:
        simulations: What `lensequiv.simulation.simulate` returned.
        each: Images a class.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure, with axes in arcsec at each lens's own scale.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: A class has fewer images than `each`, or there is no simulation.
    """
    if not simulations:
        raise ValueError("simulations is empty; expected at least one")
    make = figure_class()
    columns = each * max(len(s.classes) for s in simulations)
    rows = len(simulations)
    figure = make(figsize=(1.7 * columns, 2.0 * rows), layout="constrained")
    for row, simulation in enumerate(simulations):
        common = np.full(len(simulation), simulation.recipe.pixel_scale)
        scales = simulation.parameters.get("pixel_scale", common)
        for label, name in enumerate(simulation.classes):
            which = np.flatnonzero(simulation.labels.cpu().numpy() == label)[:each]
            if len(which) < each:
                raise ValueError(
                    f"{simulation.recipe.name} has {len(which)} images of {name}; "
                    f"expected at least each={each}"
                )
            for i, lens in enumerate(which):
                position = row * columns + label * each + i + 1
                panel = figure.add_subplot(rows, columns, position)
                image = simulation.images[lens].cpu().numpy()
                draw_image(panel, image, scales[lens])
                panel.set_title(f"{simulation.recipe.name}: {name}", fontsize=7)
    return finish(figure, path, dpi=80)


def _titles(prediction: Prediction) -> list[str]:
    """File names without endings; with their folders where they do not differ."""
    if prediction.paths is None:
        return [f"image {i}" for i in range(len(prediction))]
    paths = [Path(path).with_suffix("") for path in prediction.paths]
    stems = [path.name for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return ["/".join(path.parts[-2:]) for path in paths]
