"""A sheet of simulated lenses, with the truth drawn over them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lensequiv.plots._style import draw_image, figure_class, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lensequiv.simulation import Simulation

__all__ = ["plot_sheet"]


def plot_sheet(
    simulation: Simulation,
    *,
    each: int = 8,
    truth: bool = True,
    path: str | Path | None = None,
) -> Figure:
    """Draws a row of lenses for each class.

    Over each image: the halo's Einstein radius (dashed), where the source would be
    without lensing (cross), and point masses and subhalos from 1e8 solar masses on, the
    larger the heavier.

    Args:
        simulation: What `lensequiv.simulation.simulate` returned.
        each: Images a class, at most.
        truth: Whether to draw the truth.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure, with axes in arcsec.

    Raises:
        ImportError: matplotlib is not installed.
    """
    make = figure_class()
    rows = len(simulation.classes)
    figure = make(figsize=(1.7 * each, 1.9 * rows), layout="constrained")
    labels = simulation.labels.numpy()
    for row, name in enumerate(simulation.classes):
        for column, index in enumerate(np.flatnonzero(labels == row)[:each]):
            panel = figure.add_subplot(rows, each, row * each + column + 1)
            p = {key: value[index] for key, value in simulation.parameters.items()}
            scale = float(p.get("pixel_scale", simulation.recipe.pixel_scale))
            image = simulation.images[index].numpy()
            draw_image(panel, image, scale)
            panel.tick_params(labelsize=5)
            panel.set_title(name, fontsize=7)
            if truth:
                _draw_truth(panel, p, len(image) * scale / 2)
    return finish(figure, path, dpi=110)


def _draw_truth(panel: Any, p: dict[str, Any], half: float) -> None:
    """Einstein radius, source and masses."""
    angle = np.linspace(0, 2 * np.pi, 100)
    x, y = p.get("halo_x", 0.0), p.get("halo_y", 0.0)
    ring = p["theta_e"] * np.cos(angle) + x, p["theta_e"] * np.sin(angle) + y
    panel.plot(*ring, "--", color="white", lw=0.5)
    panel.plot(p["source_x"], p["source_y"], "+", color="cyan", ms=4, mew=0.6)
    heavy = p["mass"] >= 1e8
    size = 2 + 6 * np.log10(np.maximum(p["mass"][heavy], 1e8) / 1e8)
    panel.scatter(
        p["mass_x"][heavy],
        p["mass_y"][heavy],
        s=size,
        facecolors="none",
        edgecolors="red",
        linewidths=0.4,
    )
    panel.set(xlim=(-half, half), ylim=(-half, half))
