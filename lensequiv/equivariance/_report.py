"""What was measured, as rows and as a table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lensequiv._tables import in_columns
from lensequiv.equivariance._elements import Element

__all__ = ["Report", "Row", "error_row"]


@dataclass(frozen=True)
class Row:
    """The error of one quantity under one element.

    With Delta_n the deviation for image n and s^2 the mean over the images of
    ``|q(x_n)|^2`` (Euclidean norms over all components of the quantity):

    Attributes:
        quantity: `"logits"`, `"embedding"`, or a layer's name.
        element: What the image was moved by.
        error: ``sqrt(mean over n of |Delta_n|^2) / s``.
        largest: ``max over n of |Delta_n| / s``.
    """

    quantity: str
    element: Element
    error: float
    largest: float


@dataclass(frozen=True)
class Report:
    """Errors by quantity and element.

    Attributes:
        model: What was measured.
        group: Name of the group its fields belong to; None where it has none.
        kind: `"pixel grid"`, `"re-rendered"` or `"re-rendered with noise"`.
        images: How many images.
        dtype: In which the network computed.
        rows: The errors.
    """

    model: str
    group: str | None
    kind: str
    images: int
    dtype: str
    rows: tuple[Row, ...]

    @property
    def quantities(self) -> list[str]:
        """Names of the quantities, in order."""
        return list(dict.fromkeys(row.quantity for row in self.rows))

    def of(self, quantity: str) -> list[Row]:
        """The rows of one quantity.

        Raises:
            ValueError: It was not measured.
        """
        found = [row for row in self.rows if row.quantity == quantity]
        if not found:
            known = ", ".join(self.quantities)
            raise ValueError(f"{quantity!r} was not measured; expected one of {known}")
        return found

    def worst(self, quantity: str | None = None) -> Row:
        """The row with the largest deviation; of all quantities if None.

        Raises:
            ValueError: The quantity was not measured.
        """
        # NaN counts as the worst of all.
        rows = self.rows if quantity is None else self.of(quantity)
        return max(rows, key=lambda r: (r.largest != r.largest, r.largest))

    def table(self, elements: Collection[Element] | None = None) -> str:
        """A line for each element and a column for each quantity, holding `error`.

        Args:
            elements: Which; all if None.
        """
        cells = {(r.element, r.quantity): f"{r.error:.1e}" for r in self.rows}
        lines = [["", *self.quantities]]
        for element in dict.fromkeys(row.element for row in self.rows):
            if elements is None or element in elements:
                row = [cells.get((element, q), "-") for q in self.quantities]
                lines.append([str(element), *row])
        return "\n".join(in_columns(lines, numbers=True))

    @property
    def title(self) -> str:
        """What was measured, on what."""
        group = f"group {self.group}" if self.group else "no group"
        many = "image" if self.images == 1 else "images"
        title = f"{self.model} ({group}), {self.kind}, {self.images} {many}"
        return f"{title}, {self.dtype}"

    def __str__(self) -> str:
        """Title and table."""
        return f"{self.title}\n{self.table()}"

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return asdict(self)


def error_row(quantity: str, element: Element, found: Tensor, expected: Tensor) -> Row:
    """Compares a quantity of moved images with the moved quantity; see `Row`.

    Args:
        quantity: Its name.
        element: What moved it.
        found: (N, ...) q(g x).
        expected: (N, ...) g q(x).

    Raises:
        ValueError: The quantity is zero for all images, so there is no scale.
    """
    difference = found - expected
    if difference.device.type == "mps":  # which knows no double precision
        difference, expected = difference.cpu(), expected.cpu()
    deviation = difference.flatten(1).double().square().sum(1)
    scale = expected.flatten(1).double().square().sum(1).mean()
    if scale == 0:
        raise ValueError(f"{quantity} is zero for all images; expected a scale")
    return Row(
        quantity,
        element,
        error=float(torch.sqrt(deviation.mean() / scale)),
        largest=float(torch.sqrt(deviation.max() / scale)),
    )
