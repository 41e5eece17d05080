"""The part of the record that says which quantities a network reads off a lens."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["LEVELS", "QuantitiesSpec", "Quantity"]

LEVELS = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Probabilities of the quantiles that are told: central 95 and 68 %, and the median."""

_NAME = re.compile("[a-z][a-z0-9_]*")
_MAX_QUANTITIES, _MAX_COMPONENTS, _MAX_WIDTH = 64, 64, 65_536


@dataclass(frozen=True)
class Quantity:
    """A quantity that a network reads off a lens.

    Attributes:
        name: With its unit, as it stands in tables: `"einstein_radius_arcsec"`.
        unit: For people, `"arcsec"`; empty for a pure number.
        mean: Of the training lenses, which the head takes as 0.
        scale: Their standard deviation, which the head takes as 1.
        whole: Whether it is a number of things; the head then takes it as spread evenly
            over the interval from half below to half above.
        classes: Of which lenses it is meant: for others it is not defined, and what the
            head says of them means nothing.
        levels: Of the head's distribution, which are told as the quantiles `LEVELS`:
            where these lay among held-out lenses.
    """

    name: str
    unit: str
    mean: float
    scale: float
    whole: bool = False
    classes: tuple[str, ...] = ()
    levels: tuple[float, ...] = LEVELS

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: A value cannot be; the message names the field.
        """
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "levels", tuple(self.levels))
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"'name' is {self.name!r:.60}; expected small letters, digits and _, "
                "a letter first"
            )
        if not isinstance(self.unit, str):
            raise ValueError(f"'unit' is {self.unit!r:.60}; expected a text")
        if not _is_number(self.mean):
            raise ValueError(f"'mean' is {self.mean!r:.60}; expected a number")
        if not _is_number(self.scale) or not self.scale > 0:
            raise ValueError(
                f"'scale' is {self.scale!r:.60}; expected a positive number"
            )
        if not isinstance(self.whole, bool):
            raise ValueError(f"'whole' is {self.whole!r:.60}; expected true or false")
        if not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"'classes' is {self.classes!r:.60}; expected names")
        inside = all(_is_number(level) and 0 < level < 1 for level in self.levels)
        rising = inside and list(self.levels) == sorted(set(self.levels))
        if len(self.levels) != len(LEVELS) or not rising:
            raise ValueError(
                f"'levels' is {self.levels!r:.100}; expected {len(LEVELS)} rising "
                "numbers between 0 and 1"
            )

    def to_config(self) -> dict[str, Any]:
        """As JSON holds it."""
        found = {part.name: getattr(self, part.name) for part in fields(self)}
        lists = {"classes": list(self.classes), "levels": list(self.levels)}
        return {**found, **lists}


@dataclass(frozen=True)
class QuantitiesSpec:
    """Which quantities a network reads off a lens, and how large the head is.

    Attributes:
        inputs: Length of the embedding.
        hidden: Width of the head's two hidden layers.
        components: Gaussians that make up the posterior distribution.
        quantities: In the order of the head's output.
    """

    inputs: int
    hidden: int
    components: int
    quantities: tuple[Quantity, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: A value cannot be; the message names the field.
        """
        object.__setattr__(self, "quantities", tuple(self.quantities))
        for name, high in (
            ("inputs", _MAX_WIDTH),
            ("hidden", _MAX_WIDTH),
            ("components", _MAX_COMPONENTS),
        ):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= high:
                raise ValueError(f"{name!r} is {value!r:.60}; expected 1 to {high}")
        if not 1 <= len(self.quantities) <= _MAX_QUANTITIES:
            raise ValueError(
                f"'quantities' has {len(self.quantities)}; expected 1 to "
                f"{_MAX_QUANTITIES}"
            )
        names = self.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"'quantities' has {twice[0]!r} twice")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the quantities, in order."""
        return tuple(quantity.name for quantity in self.quantities)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """What decides the head's tensors."""
        return self.inputs, self.hidden, self.components, len(self.quantities)

    def to_config(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "inputs": self.inputs,
            "hidden": self.hidden,
            "components": self.components,
            "quantities": [quantity.to_config() for quantity in self.quantities],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> QuantitiesSpec:
        """Inverse of `to_config`.

        Raises:
            ValueError: A key is missing or unknown, or a value cannot be.
        """
        _check_keys(config, cls)
        listed = config["quantities"]
        if not isinstance(listed, list):
            raise ValueError(f"'quantities' is {listed!r:.60}; expected a list")
        quantities = []
        for place, found in enumerate(listed):
            try:
                _check_keys(found, Quantity)
                for name in ("classes", "levels"):
                    if not isinstance(found[name], list):
                        raise ValueError(
                            f"{name!r} is {found[name]!r:.60}; expected a list"
                        )
                quantities.append(Quantity(**found))
            except ValueError as error:
                raise ValueError(f"'quantities', entry {place}: {error}") from None
        return cls(**{**config, "quantities": tuple(quantities)})


def _check_keys(config: Any, kind: type) -> None:
    if not isinstance(config, Mapping):
        raise ValueError(f"it is {config!r:.60}; expected an object")
    names = {part.name for part in fields(kind)}
    if missing := sorted(names - set(config)):
        raise ValueError(f"key {missing[0]!r} is missing")
    if unknown := sorted(set(config) - names):
        raise ValueError(f"unknown key {unknown[0]!a:.200}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
