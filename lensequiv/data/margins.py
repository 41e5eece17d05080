"""Margins in which nothing was observed: pixels that are NaN around an image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Trimmed", "without_margin"]

_SMALLEST = 33  # pixels a side: what is left of an image has to be worth classifying


class Trimmed(NamedTuple):
    """What is left of an image whose margin was cut away.

    Attributes:
        pixels: (C, H, W), a view.
        top: Rows that were cut away above, and as many below.
        left: Columns that were cut away on the left, and as many on the right.
        notes: What was done, for people; empty if nothing was.
    """

    pixels: np.ndarray
    top: int
    left: int
    notes: tuple[str, ...]


def without_margin(pixels: np.ndarray) -> Trimmed:
    """Cut away the margin of an image that holds NaN, and keep the centre.

    Images that were turned north up, mosaics and cut-outs at the edge of a detector
    have NaN where nothing was observed. The same number of rows is cut at the top and
    at the bottom, and of columns on the left and on the right, so the centre stays the
    centre. Of all such windows without NaN, the one with the longest shorter side is
    taken.

    Args:
        pixels: (C, H, W), any integer or real type.

    Returns:
        The window; or the image as it is, if no pixel is NaN, or if no window of at
        least 33 x 33 pixels, half as high and half as wide as the image, is without.
    """
    whole = Trimmed(pixels, 0, 0, ())
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isnan(pixels.sum()):  # as soon as one pixel is
            return whole
    height, width = pixels.shape[-2:]
    rows, columns = np.nonzero(np.isnan(pixels).any(0))
    if not len(rows):  # infinities of both signs
        return whole
    rows = np.minimum(rows, height - 1 - rows)  # distance from the nearer edge
    columns = np.minimum(columns, width - 1 - columns)
    # With so many rows cut away, NaN is left in the columns up to this one.
    cut = np.zeros(height // 2 + 2, int)
    np.maximum.at(cut, rows, columns + 1)
    cut = np.maximum.accumulate(cut[::-1])[::-1]
    tops = np.arange(len(cut))
    heights, widths = height - 2 * tops, width - 2 * cut
    sides = np.minimum(heights, widths)
    best = int(np.lexsort((heights * widths, sides))[-1])
    top, left = best, int(cut[best])
    enough = 2 * heights[best] >= height and 2 * widths[best] >= width
    if sides[best] < _SMALLEST or not enough:
        return whole
    window = pixels[:, top : height - top, left : width - left]
    note = (
        f"{len(rows)} of its {height} x {width} pixels are NaN; the central"
        f" {window.shape[-2]} x {window.shape[-1]} without any were used"
    )
    return Trimmed(window, top, left, (note,))
