"""Quantities of lenses: what a network tells, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lensequiv.spec import QuantitiesSpec

__all__ = ["Measured", "Quantities", "joined", "quantity_columns"]

_PARTS = ("_lower_95", "_lower_68", "", "_upper_68", "_upper_95")
_SHOWN = (2, 1, 3, 0, 4)  # the median first, then from the inside out


class Measured(NamedTuple):
    """A quantity of one lens.

    Attributes:
        median: As likely too high as too low.
        lower_68: Beginning of the central 68 % interval.
        upper_68: Its end.
        lower_95: Beginning of the central 95 % interval.
        upper_95: Its end.
        unit: Of all of them; empty for a pure number.
    """

    median: float
    lower_68: float
    upper_68: float
    lower_95: float
    upper_95: float
    unit: str


@dataclass(frozen=True, eq=False, repr=False)
class Quantities:
    """Quantities of N lenses, with their uncertainty.

    Attributes:
        values: (N, Q, 5) float32 on the CPU: quantiles at 2.5, 16, 50, 84 and 97.5 %,
            in the quantities' units, whatever the class of the lens.
        spec: Names, units, and for lenses of which classes they are meant.
    """

    values: Tensor
    spec: QuantitiesSpec

    @property
    def names(self) -> tuple[str, ...]:
        """Of the quantities, with their units."""
        return self.spec.names

    @property
    def median(self) -> Tensor:
        """(N, Q)."""
        return self.values[..., 2]

    def interval(self, percent: int = 68) -> tuple[Tensor, Tensor]:
        """Lower and upper ends of the central 68 or 95 % intervals, (N, Q) each.

        Raises:
            ValueError: It is another number.
        """
        ends = {68: (1, 3), 95: (0, 4)}
        if percent not in ends:
            raise ValueError(f"percent={percent}: expected 68 or 95")
        low, high = ends[percent]
        return self.values[..., low], self.values[..., high]

    def of(self, index: int) -> dict[str, Measured]:
        """What is told of one lens, by the quantities' names."""
        return {
            quantity.name: Measured(*(row[i] for i in _SHOWN), unit=quantity.unit)
            for quantity, row in zip(
                self.spec.quantities, self.values[index].tolist(), strict=True
            )
        }

    def __len__(self) -> int:
        """The number of lenses."""
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        """Whether everything is equal, numbers to the last bit."""
        if not isinstance(other, Quantities):
            return NotImplemented
        return self.spec == other.spec and torch.equal(self.values, other.values)

    def __hash__(self) -> int:
        """Equal for what is equal."""
        return hash((self.spec, len(self)))

    def __repr__(self) -> str:
        """How many lenses, and what is told of them."""
        return f"Quantities({len(self)} lenses: {', '.join(self.names)})"

    def units(self) -> dict[str, str]:
        """The units of the columns of tables; empty for pure numbers."""
        return {
            column: quantity.unit
            for quantity in self.spec.quantities
            for column in quantity_columns([quantity.name])
        }

    def columns(self, labels: Sequence[str]) -> dict[str, Tensor]:
        """The columns of tables, (N,) each, in order.

        Args:
            labels: The likeliest class of each lens: where a quantity is not meant for
                it, its columns are NaN.
        """
        found: dict[str, Tensor] = {}
        for i, quantity in enumerate(self.spec.quantities):
            meant = [not quantity.classes or name in quantity.classes for name in labels]
            known = torch.tensor(meant, dtype=torch.bool)
            for part in _SHOWN:
                told = torch.where(known, self.values[:, i, part], torch.nan)
                found[quantity.name + _PARTS[part]] = told
        return found


def joined(parts: Sequence[Quantities]) -> Quantities | None:
    """Quantities of several parts as one; None if there are no parts.

    Raises:
        ValueError: They are not the same quantities.
    """
    if not parts:
        return None
    for part in parts:
        if part.spec != parts[0].spec:
            raise ValueError(
                f"predictions with quantities {', '.join(parts[0].names)} and "
                f"{', '.join(part.names)}; expected those of the same network"
            )
    return Quantities(torch.cat([part.values for part in parts]), parts[0].spec)


def quantity_columns(names: Sequence[str]) -> list[str]:
    """The columns of quantities in tables, in order."""
    return [name + _PARTS[part] for name in names for part in _SHOWN]
