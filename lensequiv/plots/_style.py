"""One style for all figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.files import check_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "KEY",
    "NORMAL",
    "PANEL",
    "SMALL",
    "check_picture",
    "draw_image",
    "figure_class",
    "finish",
    "line_styles",
    "tidy",
]

# Okabe and Ito's colours, distinguishable with any colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
# Lines differ in more than colour, so that they do in black-and-white print.
LINES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (9, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")

# Points, of text: a figure is printed at the width it is made for.
SMALL, NORMAL = 8, 9
# Legends: no frame, lines long enough to show their dashes.
KEY: dict[str, Any] = {"fontsize": SMALL, "frameon": False, "handlelength": 3.2}
# *Unit*: inch. Of one panel with its labels.
PANEL = 3.6


def figure_class() -> type[Figure]:
    """The class of all figures; not pyplot's: no display and no global state.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401  # else a module of ours lacks it

        from lensequiv.plots._figure import NotebookFigure
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib: pip install 'lensequiv[plots]'"
        ) from error
    return NotebookFigure


def check_picture(path: str | Path, endings: Sequence[str] = ()) -> Path:
    """Makes sure that a picture can be written, before the work whose result it shows.

    Args:
        path: The file; one that exists will be replaced.
        endings: What it may end in, as `.gif`; by default in whatever matplotlib
            writes.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: It cannot be written there; see `lensequiv.files.check_output`.
        ValueError: It has another ending.
    """
    known = figure_class()().canvas.get_supported_filetypes()
    return check_output(
        path, suffixes=endings or [f".{name}" for name in sorted(known)]
    )


def draw_image(panel: Any, image: NDArray[np.float32], scale: float | None) -> None:
    """Draws (H, W), 25 % to 99.9 % quantile, square root; `scale` in arcsec/pixel."""
    low, high = np.quantile(image, [0.25, 0.999])
    shown = np.sqrt(np.clip((image - low) / (high - low), 0, 1))
    extent = None
    if scale is not None:
        height, width = image.shape
        half = width * scale / 2, height * scale / 2
        extent = (-half[0], half[0], -half[1], half[1])
    panel.imshow(shown, cmap="magma", origin="lower", extent=extent)
    if scale is None:
        panel.set(xticks=[], yticks=[])
    else:
        panel.tick_params(labelsize=6)
        panel.set_xlabel("arcsec", fontsize=7, labelpad=0)


def line_styles(n: int) -> list[dict[str, Any]]:
    """Keywords for n lines that differ in colour, dashes and marker."""
    looks = zip(cycle(COLOURS), cycle(LINES), cycle(MARKERS), strict=False)
    return [
        {"color": colour, "linestyle": dashes, "marker": marker}
        for (colour, dashes, marker), _ in zip(looks, range(n), strict=False)
    ]


def tidy(panel: Any, *, title: str, x: str, y: str, grid: bool = True) -> None:
    """Title, axis labels (with their unit), two spines, a faint grid."""
    panel.set_title(title, fontsize=NORMAL, loc="left")
    panel.set_xlabel(x, fontsize=NORMAL)
    panel.set_ylabel(y, fontsize=NORMAL)
    panel.tick_params(labelsize=SMALL)
    if grid:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="0.88", linewidth=0.6)
        panel.set_axisbelow(True)


def finish(figure: Figure, path: str | Path | None, dpi: int = 110) -> Figure:
    """Saves the figure if a path is given; the ending decides the format."""
    if path is not None:
        figure.savefig(path, dpi=dpi)
    return figure
