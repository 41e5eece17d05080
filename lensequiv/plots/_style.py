"""One style for all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "draw_image", "figure_class"]

# Okabe and Ito's colours, distinguishable with any colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def figure_class() -> type[Figure]:
    """Matplotlib's `Figure`; not pyplot: no display and no global state.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib: pip install 'lensequiv[plots]'"
        ) from error
    return Figure


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
