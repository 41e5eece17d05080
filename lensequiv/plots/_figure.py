"""Figures that notebooks show by themselves; imported when one is made."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["NotebookFigure"]


class NotebookFigure(Figure):
    """Matplotlib's figure, shown as the last value of a notebook's cell.

    A figure made without pyplot is printed as text there, unless `%matplotlib inline`
    was run. This one knows how to be a picture.
    """

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=110)
        return stream.getvalue()
