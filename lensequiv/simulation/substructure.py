"""What may hide in a lens: components that a `Recipe` combines into classes.

Each draws the point masses of many lenses at once. Write your own by giving a frozen
dataclass a `draw` of this form and a `straight` attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NoSubstructure",
    "Range",
    "Subhalos",
    "Substructure",
    "Vortex",
    "log_uniform",
]

Range = tuple[float, float]
"""Bounds of a draw; a fixed value has both equal."""


def log_uniform(
    rng: np.random.Generator, bounds: Range, size: int | tuple[int, ...]
) -> NDArray[np.float64]:
    """Draws numbers whose logarithm is uniform between those of the bounds."""
    low, high = map(float, np.log(bounds))
    return np.exp(np.asarray(rng.uniform(low, high, size), np.float64))


Masses = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

# Where unused point masses wait, arcsec: far away, with no mass.
_FAR = 1e3


class Substructure(Protocol):
    """Draws point masses.

    Attributes:
        straight: Whether each lens's masses are equal and evenly spaced on a straight
            line, so that their deflection has a closed form.
    """

    straight: ClassVar[bool]

    def draw(
        self,
        rng: np.random.Generator,
        lenses: int,
        total_mass: float | NDArray[np.float64],
    ) -> Masses:
        """Draws the substructure of some lenses.

        Args:
            rng: Source of randomness.
            lenses: For how many.
            total_mass: Halo and substructure, or (lenses,) of them. *Unit*: solar
                masses.

        Returns:
            x and y in arcsec and the mass in solar masses, (lenses, K) each; unused
            places hold mass 0.
        """


@dataclass(frozen=True)
class NoSubstructure:
    """A smooth lens."""

    straight: ClassVar[bool] = False

    def draw(
        self,
        rng: np.random.Generator,
        lenses: int,
        total_mass: float | NDArray[np.float64],
    ) -> Masses:
        """See `Substructure.draw`."""
        nothing = np.zeros((lenses, 0))
        return nothing, nothing, nothing


@dataclass(frozen=True)
class Subhalos:
    """Spherical subhalos, as point masses.

    Attributes:
        number: Poisson mean of their number, or the number itself. A range is drawn
            from anew for each lens. (code, fit)
        poisson: Whether `number` is a mean. (code, fit)
        mass: Bounds of a power law. *Unit*: solar masses. (code)
        slope: dN/dm goes as m to this power: -0.9 in the original code and images,
            although the texts say -1.9. A range is drawn from anew for each lens.
            (code, fit)
        radius: Distance from the centre, uniform in the radius, not in area. *Unit*:
            arcsec. (code, fit)
    """

    straight: ClassVar[bool] = False

    number: float | Range = 25.0
    poisson: bool = True
    mass: Range = (1e6, 1e10)
    slope: float | Range = -0.9
    radius: Range = (0.0, 2.0)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        number = self.number if isinstance(self.number, tuple) else (self.number,) * 2
        if not 0 <= number[0] <= number[1]:
            raise ValueError(f"number={self.number}: expected no negative number")
        if not self.poisson and (number[0] != number[1] or number[0] % 1):
            raise ValueError(
                f"number={self.number}: expected a whole number without Poisson noise"
            )
        if not 0 < self.mass[0] <= self.mass[1]:
            raise ValueError(f"mass={self.mass}: expected 0 < low <= high")

    def draw(
        self,
        rng: np.random.Generator,
        lenses: int,
        total_mass: float | NDArray[np.float64],
    ) -> Masses:
        """See `Substructure.draw`."""
        mean, slope = self._each(rng, lenses, total_mass)
        if self.poisson:
            number = rng.poisson(mean, lenses)
        else:
            number = np.full(lenses, mean, np.int64)
        used = np.arange(max(number.max(), 1)) < number[:, None]
        low, high = self.mass
        u = rng.uniform(size=used.shape)
        power = np.reshape(slope, (-1, 1)) + 1
        power = np.where(power == 0, 1e-9, power)  # the limit of slope -1
        mass = (low**power + u * (high**power - low**power)) ** (1 / power)
        radius = rng.uniform(*self.radius, size=used.shape)
        angle = rng.uniform(0, 2 * np.pi, size=used.shape)
        x = np.where(used, radius * np.cos(angle), _FAR)
        y = np.where(used, radius * np.sin(angle), _FAR)
        return x, y, np.where(used, mass, 0.0)

    def _each(
        self,
        rng: np.random.Generator,
        lenses: int,
        total_mass: float | NDArray[np.float64],
    ) -> list[float | NDArray[np.float64]]:
        """Number and slope, drawn for each lens where they are ranges."""
        return [
            rng.uniform(*value, lenses) if isinstance(value, tuple) else value
            for value in (self.number, self.slope)
        ]


@dataclass(frozen=True)
class Vortex:
    """A vortex: equal point masses along a straight line, ends included.

    Attributes:
        points: Their number. (2nd)
        sigma: Normal spread of the centre, per axis. *Unit*: arcsec. (2nd)
        length: *Unit*: arcsec. (2nd, fit)
        log_length: Whether the logarithm of the length is uniform, not the length.
        fraction: Share of the total mass, dimensionless. (2nd, fit)
        axion_length: If the length is that of axions of some mass, the product of
            both. *Unit*: arcsec eV.
    """

    straight: ClassVar[bool] = True

    points: int = 100
    sigma: float = 0.5
    length: Range = (0.5, 2.0)
    log_length: bool = False
    fraction: Range = (0.03, 0.055)
    axion_length: float | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        if self.points < 2:
            raise ValueError(f"points={self.points}: expected at least 2")
        if not 0 < self.length[0] <= self.length[1]:
            raise ValueError(f"length={self.length}: expected 0 < low <= high")
        if not 0 <= self.fraction[0] <= self.fraction[1] <= 1:
            raise ValueError(
                f"fraction={self.fraction}: expected 0 <= low <= high <= 1"
            )
        if self.axion_length is not None and not self.axion_length > 0:
            raise ValueError(
                f"axion_length={self.axion_length}: expected a positive number"
            )

    def draw(
        self,
        rng: np.random.Generator,
        lenses: int,
        total_mass: float | NDArray[np.float64],
    ) -> Masses:
        """See `Substructure.draw`."""
        centre = rng.normal(0.0, self.sigma, size=(2, lenses, 1))
        if self.log_length:
            length = log_uniform(rng, self.length, lenses)
        else:
            length = rng.uniform(*self.length, size=lenses)
        angle = rng.uniform(0, 2 * np.pi, size=lenses)
        along = np.linspace(-0.5, 0.5, self.points) * length[:, None]
        x = centre[0] + along * np.cos(angle)[:, None]
        y = centre[1] + along * np.sin(angle)[:, None]
        mass = rng.uniform(*self.fraction, size=lenses) * total_mass
        each = np.repeat(mass[:, None], self.points, 1) / self.points
        return x, y, each
