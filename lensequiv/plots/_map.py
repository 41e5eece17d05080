"""Maps of the substructure: image, map, uncertainty, presence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.inference import SubstructureMap
from lensequiv.plots._style import COLOURS, NORMAL, SMALL, figure_class, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lensequiv.spec import MapSpec

__all__ = ["plot_maps"]

_FLOOR = 0.005  # convergence: the colour scale is linear below it, logarithmic above
_TICKS = (0, 0.01, 0.03, 0.1, 0.3, 1.0)
_SUBHALO_SIZE = 60.0  # points^2 of a subhalo of 1e10 solar masses


def plot_maps(
    maps: Sequence[SubstructureMap],
    images: Sequence[NDArray[np.float32]],
    *,
    truth: Sequence[NDArray[np.float64]] | None = None,
    subhalos: Sequence[NDArray[np.float64]] | None = None,
    titles: Sequence[str] | None = None,
    threshold: float | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Draws lenses with the maps of their substructure: a row for each lens.

    The image as the network sees it; with `truth` the true convergence; the median of
    the convergence; half of its central 68 % interval; and the probability of presence,
    with a cross at every detection and, with `subhalos`, a circle about every subhalo
    whose area is proportional to its mass. One colour scale for all convergences.

    Args:
        maps: What `predict_map` returned.
        images: (H, W) or (C, H, W) each, the part of the image that the map covers, as
            `lensequiv.inference.network_inputs` gives it; the first channel is drawn.
        truth: (h, w) each, on the grid of the map.
        subhalos: (K, 3) each: x and y from the centre of the map in arcsec, and mass in
            solar masses.
        titles: One for each lens.
        threshold: Least probability of a detection; that of 1 % false alarms if None
            and the map knows one, else none is marked.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure, with axes in arcsec from the centre of the map.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There is no map, or the numbers of lenses differ.
    """
    count = len(maps)
    _check_counts(count, images=images, truth=truth, subhalos=subhalos, titles=titles)
    make = figure_class()
    names = ["image", "convergence:\nmedian", "convergence:\nuncertainty", "presence"]
    if truth is not None:
        names.insert(1, "convergence:\ntruth")
    columns = len(names)
    figure = make(
        figsize=(1.75 * columns + 1.4, 1.55 * count + 0.7), layout="constrained"
    )
    panels = figure.subplots(count, columns, squeeze=False, sharex=True, sharey=True)
    layers = [
        _layers(one, None if truth is None else truth[i]) for i, one in enumerate(maps)
    ]
    highest = max(float(layer.max()) for row in layers for layer in row[:-1])
    bars: list[Any] = [None, None]
    for i, (one, row) in enumerate(zip(maps, panels, strict=True)):
        _draw_image(row[0], np.atleast_3d(images[i].T).T[0], one)
        for panel, layer in zip(row[1:-1], layers[i][:-1], strict=True):
            bars[0] = _convergence(panel, layer, one.extent, highest)
        bars[1] = row[-1].imshow(
            layers[i][-1],
            cmap="cividis",
            origin="lower",
            extent=one.extent,
            vmin=0,
            vmax=1,
        )
        _detections(row[-1], one, threshold)
        if subhalos is not None:
            _subhalos(row[-1], subhalos[i])
        title = _title(one, i) if titles is None else titles[i]
        row[0].set_ylabel(f"{title}\narcsec", fontsize=SMALL)
        for panel in row:
            panel.set_aspect("equal")
            panel.tick_params(labelsize=SMALL)
    widest = max(one.extent[1] for one in maps), max(one.extent[3] for one in maps)
    panels[0, 0].set(xlim=(-widest[0], widest[0]), ylim=(-widest[1], widest[1]))
    for panel, name in zip(panels[0], names, strict=True):
        panel.set_title(name, fontsize=NORMAL)
    for panel in panels[-1]:
        panel.set_xlabel("arcsec", fontsize=SMALL)
    _colour_bars(figure, bars, panels, maps[0].spec)
    return finish(figure, path)


def _check_counts(count: int, **given: Any) -> None:
    """Requires something for each lens of what is given, and a lens.

    Raises:
        ValueError: It is not so.
    """
    for name, values in given.items():
        if values is not None and len(values) != count:
            raise ValueError(f"{name} is of {len(values)} lenses; expected {count}")
    if not count:
        raise ValueError("maps is empty; expected at least one")


def _colour_bars(
    figure: Figure, bars: Sequence[Any], panels: NDArray[Any], spec: MapSpec
) -> None:
    """Draws the scales of the convergence and of the presence."""
    bar = figure.colorbar(
        bars[0], ax=list(panels[:, -2]), ticks=[_stretched(t) for t in _TICKS]
    )
    bar.ax.set_yticklabels([f"{tick:g}" for tick in _TICKS])
    bar.set_label("convergence", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar = figure.colorbar(bars[1], ax=list(panels[:, -1]))
    bar.set_label(
        f"probability of a subhalo above {_solar(spec.mass)}\n"
        f"within {spec.radius:g} arcsec",
        fontsize=SMALL,
    )
    bar.ax.tick_params(labelsize=SMALL)


def _layers(
    one: SubstructureMap, truth: NDArray[np.float64] | None
) -> list[NDArray[Any]]:
    shown = [one.convergence.numpy(), one.uncertainty.numpy(), one.presence.numpy()]
    return shown if truth is None else [np.asarray(truth), *shown]


def _stretched(convergence: Any) -> Any:
    return np.log1p(np.asarray(convergence) / _FLOOR)


def _convergence(
    panel: Any, values: NDArray[Any], extent: tuple[float, ...], highest: float
) -> Any:
    return panel.imshow(
        _stretched(values),
        cmap="magma",
        origin="lower",
        extent=extent,
        vmin=0,
        vmax=_stretched(max(highest, 2 * _FLOOR)),
    )


def _draw_image(panel: Any, image: NDArray[np.float32], one: SubstructureMap) -> None:
    low, high = np.quantile(image, [0.25, 0.999])
    shown = np.sqrt(np.clip((image - low) / (high - low), 0, 1))
    # Cells are centred on pixels, so the map reaches beyond the image.
    pixel = one.cell / one.spec.stride
    x, y = image.shape[1] * pixel / 2, image.shape[0] * pixel / 2
    panel.imshow(shown, cmap="gray", origin="lower", extent=(-x, x, -y, y))


def _detections(panel: Any, one: SubstructureMap, threshold: float | None) -> None:
    if threshold is None and not one.spec.thresholds:
        return
    found = one.detections(threshold)
    panel.plot(
        [place.x for place in found],
        [place.y for place in found],
        "x",
        color=COLOURS[5],
        markersize=6,
        markeredgewidth=1.6,
    )


def _subhalos(panel: Any, subhalos: NDArray[np.float64]) -> None:
    real = subhalos[subhalos[:, 2] > 0]
    panel.scatter(
        real[:, 0],
        real[:, 1],
        s=_SUBHALO_SIZE * real[:, 2] / 1e10,
        facecolors="none",
        edgecolors="white",
        linewidths=0.9,
    )


def _title(one: SubstructureMap, number: int) -> str:
    return f"image {number}" if one.path is None else Path(one.path).stem[-20:]


def _solar(mass: float) -> str:
    exponent = int(np.floor(np.log10(mass)))
    factor = mass / 10**exponent
    start = "" if abs(factor - 1) < 1e-6 else f"{factor:.2g} x "
    return f"{start}$10^{{{exponent}}}$ solar masses"
