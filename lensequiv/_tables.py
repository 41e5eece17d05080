"""Text in columns."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["in_columns"]


def in_columns(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Lines in which the cells of a column stand below each other.

    Args:
        rows: Of equal lengths; the first may be headings.
        numbers: Whether all columns but the first are numbers, which end below each
            other.

    Returns:
        A line for each row, without spaces at the end.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if numbers and i else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
