"""The part of the record that says what a map of the substructure means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["MapSpec"]


@dataclass(frozen=True)
class MapSpec:
    """What the map that a network draws means.

    Attributes:
        stride: Image pixels a cell of the map.
        smoothing: Standard deviation of the Gaussian by which the convergence of the
            substructure is smoothed. *Unit*: arcsec.
        radius: Within which distance of a place the presence of a subhalo is meant.
            *Unit*: arcsec.
        einstein_radius: Of the lightest subhalo that counts as present, as a point
            mass. *Unit*: arcsec.
        mass: What that Einstein radius is in the training recipe, for a lens at
            redshift 0.5 and a source at 1. *Unit*: solar masses.
        thresholds: By the share of smooth lenses that exceed it: the highest
            probability of presence in a map, among those of held-out smooth lenses
            like the training ones.
    """

    stride: int
    smoothing: float
    radius: float
    einstein_radius: float
    mass: float
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: A value cannot be; the message names the field.
        """
        if type(self.stride) is not int or not 1 <= self.stride <= 64:
            raise ValueError(f"'stride' is {self.stride!r:.60}; expected 1 to 64")
        for name in ("smoothing", "radius", "einstein_radius", "mass"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise ValueError(
                    f"{name!r} is {value!r:.60}; expected a positive number"
                )
        if not isinstance(self.thresholds, Mapping):
            raise ValueError(
                f"'thresholds' is {self.thresholds!r:.60}; expected an object"
            )
        for share, value in self.thresholds.items():
            if not _is_share(share):
                raise ValueError(
                    f"'thresholds' has the key {share!r:.60}; expected shares between "
                    "0 and 1 as text, such as '0.01'"
                )
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise ValueError(
                    f"'thresholds' has {value!r:.60} for {share!r}; expected a "
                    "probability"
                )

    def threshold(self, false_alarms: float) -> float:
        """The threshold of a share of false alarms on smooth lenses.

        Raises:
            ValueError: It was not measured; the message says which were.
        """
        for share, value in self.thresholds.items():
            if math.isclose(float(share), false_alarms, rel_tol=1e-9):
                return value
        known = ", ".join(self.thresholds) or "none"
        raise ValueError(
            f"false_alarms={false_alarms}: no threshold was measured for it; measured "
            f"are {known}"
        )

    def to_config(self) -> dict[str, Any]:
        """As JSON holds it."""
        found = {part.name: getattr(self, part.name) for part in fields(self)}
        return {**found, "thresholds": dict(self.thresholds)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MapSpec:
        """Inverse of `to_config`.

        Raises:
            ValueError: A key is missing or unknown, or a value cannot be.
        """
        names = {part.name for part in fields(cls)}
        if missing := sorted(names - set(config)):
            raise ValueError(f"key {missing[0]!r} is missing")
        if unknown := sorted(set(config) - names):
            raise ValueError(f"unknown key {unknown[0]!a:.200}")
        return cls(**config)


def _is_share(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False
