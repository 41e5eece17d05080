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
    "brightness_bar",
    "check_picture",
    "draw_image",
    "figure_class",
    "finish",
    "for_paper",
    "line_styles",
    "scale_bar",
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
# *Unit*: inch. One column of a journal and both, 88 and 180 mm, as A&A has them:
# other journals differ by a few mm.
WIDTHS = {1: 3.46, 2: 7.09}
DPI = 300  # of what is saved as pixels: what journals ask of figures with images


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


def draw_image(panel: Any, image: NDArray[np.float32], scale: float | None) -> Any:
    """Draws (H, W), 25 % to 99.9 % quantile, square root; `scale` in arcsec/pixel.

    Returns:
        What `brightness_bar` takes.
    """
    low, high = np.quantile(image, [0.25, 0.999])
    shown = np.sqrt(np.clip((image - low) / (high - low), 0, 1))
    extent = None
    if scale is not None:
        height, width = image.shape
        half = width * scale / 2, height * scale / 2
        extent = (-half[0], half[0], -half[1], half[1])
    drawn = panel.imshow(shown, cmap="magma", origin="lower", extent=extent)
    drawn.set_clim(0, 1)
    if scale is None:
        panel.set(xticks=[], yticks=[])
    else:
        panel.tick_params(labelsize=6)
        panel.set_xlabel("arcsec", fontsize=7, labelpad=0)
    return drawn


def scale_bar(panel: Any, width: float) -> float:
    """Draws a bar of a round length, at most a third of an image, in its corner.

    Args:
        panel: With an image whose axes are in arcsec.
        width: Of the image. *Unit*: arcsec.

    Returns:
        The length. *Unit*: arcsec.
    """
    power = 10.0 ** np.floor(np.log10(width / 3))
    length = float(max(step * power for step in (1, 2, 5) if step * power <= width / 3))
    left, low = panel.get_xlim()[0] + 0.05 * width, panel.get_ylim()[0] + 0.06 * width
    panel.plot(
        [left, left + length],
        [low, low],
        color="white",
        linewidth=1.6,
        solid_capstyle="butt",
    )
    text = f"{length:g}\N{DOUBLE PRIME}"
    panel.text(left, low + 0.02 * width, text, color="white", fontsize=7, va="bottom")
    return length


def brightness_bar(figure: Figure, drawn: Any, panels: Sequence[Any]) -> None:
    """A colour bar for what `draw_image` drew, in shares of the peak.

    Args:
        figure: Of the panels.
        drawn: What `draw_image` returned for any of them.
        panels: Beside which it stands.
    """
    shares = np.array([0, 0.1, 0.25, 0.5, 1])
    bar = figure.colorbar(drawn, ax=list(panels), pad=0.01, fraction=0.03, aspect=30)
    bar.set_ticks(np.sqrt(shares), labels=[f"{share:g}" for share in shares])
    bar.ax.tick_params(labelsize=6)
    bar.set_label("brightness, sky 0 to peak 1 (square root)", fontsize=7)


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


def finish(figure: Figure, path: str | Path | None, dpi: int = DPI) -> Figure:
    """Saves the figure if a path is given; the ending decides the format."""
    if path is not None:
        import matplotlib

        # Letters stay letters in PDF and PostScript (TrueType), as journals want them.
        with matplotlib.rc_context({"pdf.fonttype": 42, "ps.fonttype": 42}):
            figure.savefig(path, dpi=dpi)
    return figure


def for_paper(
    figure: Figure, columns: int = 1, *, path: str | Path | None = None
) -> Figure:
    """Brings a figure to the width of a journal's column, or of both.

    Text keeps its size in points, so that it is printed as it was made: a figure of
    many panels is for both columns.

    Args:
        figure: Of any function of `lensequiv.plots`; its size is changed.
        columns: 1 (88 mm) or 2 (180 mm).
        path: Where to save it; the ending decides the format. `.pdf` keeps lines and
            letters; pixels have 300 dpi.

    Returns:
        The figure.

    Raises:
        ValueError: `columns` is neither 1 nor 2.
    """
    if columns not in WIDTHS:
        raise ValueError(f"columns={columns!r:.20}: expected 1 or 2")
    wanted = WIDTHS[columns]
    width, height = figure.get_size_inches()
    # Not flatter than a label beside an axis is long.
    figure.set_size_inches(
        wanted, max(height * wanted / width, min(height, 0.8 * wanted))
    )
    return finish(figure, path)
