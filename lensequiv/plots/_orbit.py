"""A lens through 360 degrees: input, feature maps turned back, embedding."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.equivariance import OrbitMaps, Orbits
from lensequiv.files import write_atomically
from lensequiv.plots._style import COLOURS, draw_image, figure_class, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["animate_orbit", "plot_orbit"]

_COMPONENTS = 16
_ARROWS = 11  # along a side


def plot_orbit(maps: Sequence[OrbitMaps], *, path: str | Path | None = None) -> Figure:
    """Draws a lens at up to eight angles, and what networks make of it.

    The first row is the lens. Each network's row shows one field of one layer turned
    back (`lensequiv.equivariance.stabilise`), so that for an equivariant network it is
    the same picture at each angle: the field's strength as brightness, its direction as
    arrows. At the right the embedding at all angles: the components in which the lenses
    differ most, in units of their standard deviation between lenses. Horizontal stripes
    are an invariant embedding.

    Args:
        maps: From `lensequiv.equivariance.orbit_maps`, of the same lens and angles.
        path: Where to save the figure; the ending decides the format.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There are no maps, or they show different lenses.
    """
    lens, angles, images = _common(maps)
    make = figure_class()
    shown = _eighths(angles)
    columns, rows = len(shown), len(maps) + 1
    figure = make(figsize=(1.15 * columns + 3.2, 1.22 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[1] * columns + [2.4])
    for column, i in enumerate(shown):
        panel = figure.add_subplot(grid[0, column])
        draw_image(panel, images[i], None)
        panel.set_title(f"{angles[i]:g}\N{DEGREE SIGN}", fontsize=8)
        if column == 0:
            panel.set_ylabel("lens", fontsize=8)
    for row, one in enumerate(maps, start=1):
        for column, i in enumerate(shown):
            panel = figure.add_subplot(grid[row, column])
            _draw_field(panel, one, one.stable_strength[i], one.stable_vectors[i])
            if column == 0:
                panel.set_ylabel(f"{one.orbits.model}\n{one.layer}", fontsize=7)
        panel = figure.add_subplot(grid[row, columns])
        values = _embedding(one.orbits, lens)
        strip = panel.imshow(
            values.T, cmap="PuOr", vmin=-2, vmax=2, aspect="auto", interpolation="none"
        )
        ticks = _ticks(angles)
        panel.set_xticks(ticks, [f"{angles[i]:g}" for i in ticks], fontsize=6)
        panel.set_yticks([])
        if row == len(maps):
            panel.set_xlabel("angle (degrees)", fontsize=7)
    corner = figure.add_subplot(grid[0, columns])
    corner.axis("off")
    bar = figure.colorbar(
        strip, cax=corner.inset_axes((0.1, 0.2, 0.8, 0.12)), orientation="horizontal"
    )
    bar.ax.tick_params(labelsize=6)
    bar.ax.set_title("embedding: standard\ndeviations between lenses", fontsize=7)
    return finish(figure, path)


def animate_orbit(
    maps: Sequence[OrbitMaps],
    path: str | Path,
    *,
    milliseconds: int = 120,
    colours: int = 48,
) -> Path:
    """Writes an animation: a frame for each angle but a last one of 360 degrees.

    A column for each network: the field as it is, the field turned back (which stands
    still where the network is equivariant), and the embedding as bars, with those at
    the first angle as black marks; see `plot_orbit`.

    Args:
        maps: From `lensequiv.equivariance.orbit_maps`, of the same lens and angles.
        path: The GIF to write.
        milliseconds: How long a frame is shown.
        colours: Size of the palette.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There are no maps, or they show different lenses.
    """
    from lensequiv.transforms import rotate

    lens, angles, images = _common(maps)
    stable = [
        rotate(image[None, None], -angle, image.shape[-1])[0, 0].numpy()
        for image, angle in zip(
            maps[0].orbits.lenses.images[:, lens], angles, strict=True
        )
    ]
    count = len(angles) - (len(angles) > 1 and (angles[-1] - angles[0]) % 360 == 0)
    frames = [_frame(maps, i, lens, angles, images[i], stable[i]) for i in range(count)]
    # One palette for all, so that what stands still does not flicker.
    palette = frames[0].quantize(colours)
    pictures = [frame.quantize(palette=palette, dither=0) for frame in frames]
    content = io.BytesIO()
    pictures[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
    )
    path = Path(path)
    write_atomically(path, content.getvalue())
    return path


def _frame(
    maps: Sequence[OrbitMaps],
    i: int,
    lens: int,
    angles: Sequence[float],
    image: NDArray[np.float32],
    stable: NDArray[np.float32],
) -> Any:
    """One picture of the animation, as a Pillow image."""
    make = figure_class()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    first, angle = angles[0], angles[i]
    columns = len(maps) + 1
    figure = make(figsize=(1.45 * columns, 4.3), dpi=85)
    grid = figure.add_gridspec(
        *(3, columns), left=0.03, right=0.995, top=0.93, bottom=0.02, wspace=0.06
    )
    for row, picture in enumerate((image, stable)):
        panel = figure.add_subplot(grid[row, 0])
        draw_image(panel, picture, None)
        panel.set_ylabel(("as it is", "turned back")[row], fontsize=8)
    figure.axes[0].set_title(f"lens at {angle:g}\N{DEGREE SIGN}", fontsize=8)
    note = figure.add_subplot(grid[2, 0])
    note.axis("off")
    text = f"embedding,\nblack: at {first:g}\N{DEGREE SIGN}"
    note.text(0.5, 0.5, text, ha="center", va="center", fontsize=8)
    for column, one in enumerate(maps, start=1):
        panel = figure.add_subplot(grid[0, column])
        _draw_field(panel, one, one.strength[i], one.vectors[i])
        panel.set_title(one.orbits.model, fontsize=8)
        panel = figure.add_subplot(grid[1, column])
        _draw_field(panel, one, one.stable_strength[i], one.stable_vectors[i])
        panel = figure.add_subplot(grid[2, column])
        values = _embedding(one.orbits, lens)
        places = np.arange(values.shape[1])
        panel.barh(places, values[i], color=COLOURS[0])
        panel.plot(values[0], places, "|k", markersize=5)
        panel.set(xlim=(-3, 3), xticks=[], yticks=[])
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _common(
    maps: Sequence[OrbitMaps],
) -> tuple[int, tuple[float, ...], NDArray[np.float32]]:
    """Lens, angles and images, which all have to share."""
    if not maps:
        raise ValueError("maps is empty; expected at least one")
    lens, lenses = maps[0].lens, maps[0].orbits.lenses
    if any(one.lens != lens or one.orbits.lenses is not lenses for one in maps):
        raise ValueError("maps show different lenses; expected one for all")
    return lens, lenses.angles, lenses.images[:, lens].numpy()


def _eighths(angles: Sequence[float]) -> list[int]:
    """Indices of the multiples of 45 degrees below 360, or of up to eight angles."""
    found = [i for i, a in enumerate(angles) if a % 45 == 0 and 0 <= a < 360]
    if len(found) >= 4:
        return found
    step = -(-len(angles) // 8)
    return list(range(0, len(angles), step))


def _ticks(angles: Sequence[float]) -> list[int]:
    """Indices of the multiples of 90 degrees, or of the ends."""
    found = [i for i, angle in enumerate(angles) if angle % 90 == 0]
    return found if len(found) > 1 else [0, len(angles) - 1]


def _embedding(orbits: Orbits, lens: int) -> NDArray[np.float64]:
    """(A, components) in standard deviations between lenses, and from their mean."""
    points = orbits.embeddings.double()
    centres = points.mean(0)
    deviation = centres.std(0)
    chosen = deviation.argsort(descending=True)[:_COMPONENTS]
    values = (points[:, lens] - centres.mean(0)) / deviation.clamp_min(1e-12)
    return values[:, chosen].numpy()


def _draw_field(panel: Any, maps: OrbitMaps, strength: Tensor, vectors: Tensor) -> None:
    """Brightness and arrows in the units of the first, without corners and edges."""
    side = strength.shape[-1]
    steps = np.arange(side) - (side - 1) / 2
    inside = np.hypot(steps[:, None], steps) <= side / 2 - 2
    low, high = np.quantile(maps.strength[0].numpy(), [0.02, 0.998])
    shown = np.where(inside, strength.numpy(), np.nan)
    panel.imshow(shown, cmap="magma", origin="lower", vmin=low, vmax=high)
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)
    longest = float(maps.vectors[0].norm(dim=0).max())
    if longest == 0:
        return
    places = np.linspace(0, side - 1, _ARROWS + 2).round().astype(int)[1:-1]
    y, x = (grid.ravel() for grid in np.meshgrid(places, places, indexing="ij"))
    keep = inside[y, x]
    y, x = y[keep], x[keep]
    arrows = vectors.numpy()[:, y, x] / longest
    panel.quiver(
        *(x, y, *arrows),
        color=COLOURS[4],
        pivot="mid",
        angles="xy",
        scale_units="xy",
        scale=0.35 * _ARROWS / side,
        width=0.012,
    )
