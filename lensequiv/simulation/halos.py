"""Subhalos with an extent: isothermal, NFW, truncated NFW; and mixtures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lensequiv.simulation._checks import check_range
from lensequiv.simulation.substructure import (
    Masses,
    Range,
    Subhalos,
    Substructure,
    log_uniform,
)

__all__ = ["Combined", "Halos", "Shapes", "concentration_of", "draw_shapes"]

Array = NDArray[np.float64]
Shapes = tuple[Array, Array]
"""Concentration and truncation over scale radius, (lenses, K) each.

Concentration 0 is a point mass, -1 a singular isothermal sphere; truncation is infinite
where there is none.
"""

_PROFILES = ("point", "sis", "nfw")


def concentration_of(mass: Array, z: Array) -> Array:
    """Mean concentration of halos (Dutton & Maccio 2014, eq. 8, for M_200 and h 0.7).

    Args:
        mass: M_200. *Unit*: solar masses.
        z: Redshift.

    Returns:
        r_200 over the scale radius.
    """
    slope = -0.101 + 0.026 * z
    level = 0.520 + (0.905 - 0.520) * np.exp(-0.617 * z**1.21)
    relative = np.log10(np.maximum(mass, 1.0) * 0.7 / 1e12)
    return np.asarray(10 ** (level + slope * relative))


@dataclass(frozen=True)
class Halos(Subhalos):
    """Spherical subhalos with a profile; number, masses and places as of `Subhalos`.

    Attributes:
        profile: `"nfw"`, `"sis"` (singular isothermal sphere) or `"point"`. Masses are
            M_200, before truncation.
        concentration: r_200 over the scale radius; from the relation of Dutton & Maccio
            (2014) if None. 15 and 60 are the literature's test cases.
        scatter: Normal scatter of its logarithm. *Unit*: dex.
        truncation: Truncation over scale radius, log-uniform; untruncated if None.
        area: Whether places are uniform in area, not in radius.
        place: If given, x and y of all of them. *Unit*: arcsec.
        fraction: If given, their mean share of the total mass, log-uniform, which sets
            their mean number in place of `number`.
    """

    number: float | Range = 1.0
    poisson: bool = False
    mass: Range = (1e8, 1e10)
    slope: float | Range = -1.9
    profile: str = "nfw"
    concentration: Range | None = None
    scatter: float = 0.11
    truncation: Range | None = None
    area: bool = False
    place: tuple[float, float] | None = None
    fraction: Range | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range, or the profile is unknown.
        """
        super().__post_init__()
        if self.profile not in _PROFILES:
            raise ValueError(
                f"profile={self.profile!r}: expected one of {', '.join(_PROFILES)}"
            )
        if self.concentration is not None:
            check_range("concentration", self.concentration, 0.5, 1000.0)
        if self.truncation is not None:
            check_range("truncation", self.truncation, 1e-2, 1e4)
        check_range("scatter", (self.scatter, self.scatter), 0.0, 2.0)
        if self.fraction is not None:
            check_range("fraction", self.fraction, 1e-6, 1.0)
            if not self.poisson:
                raise ValueError("fraction sets the mean number: expected poisson=True")

    def draw(
        self, rng: np.random.Generator, lenses: int, total_mass: float | Array
    ) -> Masses:
        """See `Substructure.draw`."""
        x, y, mass = super().draw(rng, lenses, total_mass)
        used = mass > 0
        if self.place is not None:
            x, y = (
                np.where(used, at, old)
                for at, old in zip(self.place, (x, y), strict=True)
            )
        elif self.area:
            low, high = self.radius
            radius = np.hypot(x, y)
            spread = (radius - low) / max(high - low, 1e-300)
            factor = np.sqrt(low**2 + spread * (high**2 - low**2)) / radius
            x, y = np.where(used, x * factor, x), np.where(used, y * factor, y)
        return x, y, mass

    def _each(
        self, rng: np.random.Generator, lenses: int, total_mass: float | Array
    ) -> list[float | Array]:
        """See `Subhalos._each`."""
        number, slope = super()._each(rng, lenses, total_mass)
        if self.fraction is None:
            return [number, slope]
        share = log_uniform(rng, self.fraction, lenses)
        return [share * total_mass / _mean_mass(self.mass, np.asarray(slope)), slope]

    def shapes(self, rng: np.random.Generator, mass: Array, z_lens: Array) -> Shapes:
        """Draws concentrations and truncations.

        Args:
            rng: Source of randomness.
            mass: (lenses, K). *Unit*: solar masses.
            z_lens: (lenses,) redshifts.
        """
        infinite = np.full(mass.shape, math.inf)
        if self.profile == "point":
            return np.zeros(mass.shape), infinite
        if self.profile == "sis":
            return np.full(mass.shape, -1.0), infinite
        if self.concentration is None:
            middle = concentration_of(mass, z_lens[:, None])
        else:
            middle = rng.uniform(*self.concentration, mass.shape)
        c = middle * 10 ** rng.normal(0, self.scatter, mass.shape)
        if self.truncation is None:
            return np.maximum(c, 0.5), infinite
        tau = log_uniform(rng, self.truncation, mass.shape)
        return np.maximum(c, 0.5), tau


def _mean_mass(bounds: Range, slope: Array) -> Array:
    """Mean of a power law of this slope between two masses."""
    u = (np.arange(10_000) + 0.5) / 10_000
    mass = np.exp(np.log(bounds[0]) + u * np.log(bounds[1] / bounds[0]))
    weight = mass ** (slope[..., None] + 1)  # of equal steps in the logarithm
    return np.asarray((weight * mass).sum(-1) / weight.sum(-1))


@dataclass(frozen=True)
class Combined:
    """Several kinds of substructure at once.

    Attributes:
        parts: The components.
    """

    straight: ClassVar[bool] = False

    parts: tuple[Substructure, ...]

    def draw(
        self, rng: np.random.Generator, lenses: int, total_mass: float | Array
    ) -> Masses:
        """See `Substructure.draw`."""
        drawn = [part.draw(rng, lenses, total_mass) for part in self.parts]
        x, y, mass = (np.concatenate(arrays, 1) for arrays in zip(*drawn, strict=True))
        return x, y, mass

    def draw_all(
        self,
        rng: np.random.Generator,
        lenses: int,
        total_mass: float | Array,
        z_lens: Array,
    ) -> tuple[Masses, Shapes]:
        """See `draw_shapes`."""
        drawn = [
            draw_shapes(part, rng, lenses, total_mass, z_lens) for part in self.parts
        ]
        x, y, mass = (
            np.concatenate([masses[i] for masses, _ in drawn], 1) for i in range(3)
        )
        c, tau = (
            np.concatenate([shapes[i] for _, shapes in drawn], 1) for i in range(2)
        )
        return (x, y, mass), (c, tau)


def draw_shapes(
    component: Substructure,
    rng: np.random.Generator,
    lenses: int,
    total_mass: float | Array,
    z_lens: Array,
) -> tuple[Masses, Shapes]:
    """Draws a component's masses with their shapes; point masses if it has none."""
    if isinstance(component, Combined):
        return component.draw_all(rng, lenses, total_mass, z_lens)
    masses = component.draw(rng, lenses, total_mass)
    if isinstance(component, Halos):
        return masses, component.shapes(rng, masses[2], z_lens)
    shape = masses[2].shape
    return masses, (np.zeros(shape), np.full(shape, math.inf))
