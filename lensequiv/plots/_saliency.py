"""Attributions beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.plots._style import figure_class, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lensequiv.saliency import Attribution, SubstructureSignal

__all__ = ["plot_saliency"]

_DIVERGING = "PuOr"  # readable with any colour vision
_SUBHALO_SIZE = 60.0  # points^2 of a subhalo of 1e10 solar masses


def plot_saliency(
    attribution: Attribution,
    *,
    pixel_scale: float,
    signal: SubstructureSignal | None = None,
    parameters: Mapping[str, NDArray[np.float64]] | None = None,
    titles: Sequence[str] | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Draws images, their attributions and, where known, their substructure.

    A column an image. First row: the preprocessed image, square-root stretch. Second
    row: the attribution, smoothed with a Gaussian of one pixel; limits are symmetric
    and hold 99.5 % of the pixels. Third row, with `signal` or `parameters`: what
    substructure changes, in units of the photon noise, and the point masses as circles
    with an area proportional to their mass.

    Args:
        attribution: What `lensequiv.saliency.integrated_gradients` returned.
        pixel_scale: *Unit*: arcsec/pixel.
        signal: What `lensequiv.saliency.substructure_signal` returned for them.
        parameters: What `Simulation.parameters` holds for them.
        titles: One for each image.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure, with axes in arcsec from the centre of the images as given.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The numbers of images differ.
    """
    from lensequiv.saliency import smooth_maps

    make = figure_class()
    count = len(attribution)
    lengths = {
        "signal": None if signal is None else len(signal.snr),
        "parameters": None if parameters is None else len(parameters["mass_x"]),
        "titles": None if titles is None else len(titles),
    }
    for name, length in lengths.items():
        if length not in (None, count):
            raise ValueError(f"{name} is of {length} images; expected {count}")
    truth = signal is not None or parameters is not None
    rows = 3 if truth else 2
    figure = make(figsize=(2.3 * count + 0.7, 2.2 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, count, squeeze=False, sharex=True, sharey=True)
    x, y = attribution.axes(pixel_scale)
    half = pixel_scale / 2
    extent = (x[0] - half, x[-1] + half, y[0] - half, y[-1] + half)
    maps = smooth_maps(attribution.maps, 1.0).numpy()
    bars: list[Any] = [None, None]
    limit = float(np.quantile(np.abs(maps), 0.995))
    snr = None if signal is None else attribution.crop(signal.snr).numpy()
    snr_limit = 1.0 if snr is None else float(np.quantile(np.abs(snr), 0.995))
    for i in range(count):
        image = np.sqrt(np.clip(attribution.inputs[i, 0].numpy(), 0, 1))
        panels[0, i].imshow(image, cmap="magma", origin="lower", extent=extent)
        if titles is not None:
            panels[0, i].set_title(titles[i], fontsize=8)
        bars[0] = _diverging(panels[1, i], maps[i], limit, extent)
        if snr is not None:
            bars[1] = _diverging(panels[2, i], snr[i], snr_limit, extent)
        if parameters is not None:
            _masses(panels[2, i], {k: parameters[k][i] for k in _MASSES})
        panels[-1, i].set_xlabel("arcsec", fontsize=8)
        panels[-1, i].set(xlim=extent[:2], ylim=extent[2:])
    names = ["image", "attribution", "substructure"]
    for row, name in zip(panels, names[:rows], strict=True):
        row[0].set_ylabel(f"{name}\narcsec", fontsize=8)
        for panel in row:
            panel.set_aspect("equal")
            panel.tick_params(labelsize=7)
    labels = ("logits per pixel", "difference / photon noise")
    for bar, row, label in zip(bars, panels[1:], labels, strict=False):
        if bar is not None:
            colours = figure.colorbar(bar, ax=list(row), pad=0.01)
            colours.set_label(label, fontsize=8)
            colours.ax.tick_params(labelsize=7)
    return finish(figure, path)


_MASSES = ("mass_x", "mass_y", "mass")


def _diverging(
    panel: Any, values: NDArray[np.float32], limit: float, extent: tuple[float, ...]
) -> Any:
    return panel.imshow(
        values,
        cmap=_DIVERGING,
        origin="lower",
        extent=extent,
        vmin=-limit,
        vmax=limit,
    )


def _masses(panel: Any, masses: dict[str, NDArray[np.float64]]) -> None:
    real = masses["mass"] > 0
    panel.scatter(
        masses["mass_x"][real],
        masses["mass_y"][real],
        s=_SUBHALO_SIZE * masses["mass"][real] / 1e10,
        facecolors="none",
        edgecolors="black",
        linewidths=0.8,
    )
