"""The lens galaxy's mass: an elliptical power law with multipoles, off centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensequiv.simulation._checks import check_range
from lensequiv.simulation.substructure import Range

__all__ = ["PowerLaw"]

Arrays = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class PowerLaw:
    """An elliptical power law with multipoles (lenstronomy's `EPL`, `MULTIPOLE`).

    Its Einstein radius follows from the recipe's mass and redshifts.

    Attributes:
        slope: Of the density, dimensionless; 2 is isothermal.
        axis_ratio: Minor over major axis, dimensionless.
        angle: Direction of the major axis. *Unit*: degrees.
        offset: Normal spread of the centre, per axis. *Unit*: arcsec.
        third: Amplitude of the multipole of order 3 relative to the Einstein radius,
            any direction.
        fourth: The same of order 4.
    """

    slope: Range = (2.0, 2.0)
    axis_ratio: Range = (1.0, 1.0)
    angle: Range = (0.0, 180.0)
    offset: float = 0.0
    third: Range = (0.0, 0.0)
    fourth: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        check_range("slope", self.slope, 1.2, 2.8)
        check_range("axis_ratio", self.axis_ratio, 0.1, 1.0)
        check_range("offset", (self.offset, self.offset), 0.0, 100.0)
        check_range("third", self.third, 0.0, 0.3)
        check_range("fourth", self.fourth, 0.0, 0.3)

    def draw(self, rng: np.random.Generator, lenses: int) -> Arrays:
        """Draws the shapes of some lenses.

        Returns:
            (lenses,) float64 each, by the names of `Simulation.parameters`.
        """
        drawn = {
            "halo_slope": rng.uniform(*self.slope, lenses),
            "halo_axis_ratio": rng.uniform(*self.axis_ratio, lenses),
            "halo_angle": np.deg2rad(rng.uniform(*self.angle, lenses)),
            "halo_x": rng.normal(0, self.offset, lenses),
            "halo_y": rng.normal(0, self.offset, lenses),
        }
        for name, bounds in (("third", self.third), ("fourth", self.fourth)):
            drawn[name] = rng.uniform(*bounds, lenses)
            drawn[f"{name}_angle"] = rng.uniform(0, 2 * np.pi, lenses)
        return drawn
