"""Light besides the lensed source's one Sersic profile.

Each component draws lists of Sersic profiles, (lenses, K) arrays named `<list>_x`,
`_y`, `_amplitude` (brightness at the effective radius in units of the source's, may be
negative; 0: unused), `_radius` (arcsec), `_index`, `_axis_ratio` and `_angle`. The list
`light` lies in the image plane, `clump` in the source plane. Stars are `star_x`,
`star_y` and `star_flux`, their light in units of that brightness times arcsec^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lensequiv.simulation._checks import check_range
from lensequiv.simulation.substructure import Range, log_uniform

__all__ = ["Clumps", "LensLight", "LightComponent", "Neighbours"]

Arrays = dict[str, NDArray[np.float64]]

FAR = 1e3  # arcsec: where unused places wait


class LightComponent(Protocol):
    """Draws light."""

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """Draws the light of some lenses.

        Args:
            rng: Source of randomness.
            lens: What has been drawn of them: (lenses,) arrays, see
                `Simulation.parameters`.

        Returns:
            (lenses, K) arrays by the names above.
        """


def sersic_flux(
    index: NDArray[np.float64] | float, radius: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Total light of a Sersic profile with brightness 1 at the effective radius.

    Graham & Driver 2005, eq. 4, with lenstronomy's b_n = 1.9992 n - 0.3271.

    Args:
        index: Sersic index n.
        radius: Effective radius. *Unit*: arcsec.

    Returns:
        *Unit*: arcsec^2.
    """
    index = np.asarray(index, np.float64)
    b = 1.9992 * index - 0.3271
    gamma = torch.from_numpy(np.atleast_1d(2 * index)).lgamma_().exp_().numpy()
    shape = index * np.exp(b) * b ** (-2 * index) * gamma.reshape(index.shape)
    return np.asarray(2 * np.pi * np.square(radius) * shape)


@dataclass(frozen=True)
class LensLight:
    """Light of the lens galaxy: one or two Sersic profiles aligned with its mass.

    Attributes:
        share: How many of the lenses shine at all, from 0 to 1.
        ratio: Total light over that of the source before lensing, log-uniform.
        index: Sersic index of the first profile; a second one is exponential.
        radius: Effective radius over the Einstein radius.
        second: How many of the shining lenses have a second profile, of the same total
            light and twice the radius.
        axis_ratio_scatter: Normal scatter of the axis ratio around the mass's.
        angle_scatter: Of the direction. *Unit*: degrees.
        subtracted: How many of the shining lenses had a model of their light
            subtracted, a good one but for the errors below.
        residual: Relative error of that model in light and in radius, standard
            deviation.
        magnitude: In place of `ratio`, with a `Camera`: the magnitude of a lens whose
            Einstein radius is 1 arcsec, uniform. Others are as much brighter as they
            are heavier, by the square of that radius.
    """

    share: float = 0.5
    ratio: Range = (0.1, 10.0)
    index: Range = (2.0, 5.0)
    radius: Range = (0.3, 1.2)
    second: float = 0.3
    axis_ratio_scatter: float = 0.1
    angle_scatter: float = 10.0
    subtracted: float = 0.3
    residual: float = 0.03
    magnitude: Range | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        for name in ("share", "second", "subtracted", "residual"):
            value = getattr(self, name)
            check_range(name, (value, value), 0.0, 1.0)
        check_range("ratio", self.ratio, 1e-6, 1e6)
        if self.magnitude is not None:
            check_range("magnitude", self.magnitude, 0.0, 40.0)
        check_range("index", self.index, 0.3, 8.0)
        check_range("radius", self.radius, 1e-3, 100.0)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """See `LightComponent.draw`."""
        n = len(lens["theta_e"])
        shape = (n, 4)  # two profiles, and the model of each that was subtracted
        q = lens["halo_axis_ratio"] + rng.normal(0, self.axis_ratio_scatter, n)
        turn = np.deg2rad(rng.normal(0, self.angle_scatter, n))
        radius = rng.uniform(*self.radius, n) * lens["theta_e"]
        index = rng.uniform(*self.index, n)
        flux = self._over_source(rng, lens) * lens["source_flux"]
        shines = rng.uniform(size=n) < self.share
        double = rng.uniform(size=n) < self.second
        subtracted = (rng.uniform(size=n) < self.subtracted) & shines
        wrong = 1 + rng.normal(0, self.residual, (n, 2))
        radii = np.stack([radius, 2 * radius], 1)
        indices = np.stack([index, np.ones(n)], 1)
        fluxes = np.stack([flux, flux * double], 1) * shines[:, None]
        # A lens whose substructure is all of its mass has neither size nor light.
        there = radii > 0
        profiles = sersic_flux(indices, np.where(there, radii, 1.0))
        amplitude = np.where(there, fluxes, 0.0) / profiles
        model = -amplitude * wrong[:, :1] * subtracted[:, None]
        return {
            "light_x": np.broadcast_to(lens["halo_x"][:, None], shape).copy(),
            "light_y": np.broadcast_to(lens["halo_y"][:, None], shape).copy(),
            "light_amplitude": np.concatenate([amplitude, model], 1),
            "light_radius": np.concatenate([radii, radii * wrong[:, 1:]], 1),
            "light_index": np.concatenate([indices, indices], 1),
            "light_axis_ratio": np.broadcast_to(
                np.clip(q, 0.2, 1)[:, None], shape
            ).copy(),
            "light_angle": np.broadcast_to(
                (lens["halo_angle"] + turn)[:, None], shape
            ).copy(),
        }

    def _over_source(
        self, rng: np.random.Generator, lens: Arrays
    ) -> NDArray[np.float64]:
        """Total light over that of the source."""
        n = len(lens["theta_e"])
        if self.magnitude is None:
            return log_uniform(rng, self.ratio, (n,))
        magnitude = rng.uniform(*self.magnitude, n)
        magnitude -= 5 * np.log10(np.maximum(lens["theta_e"], 1e-3))
        return np.asarray(10 ** (0.4 * (lens["source_magnitude"] - magnitude)))


@dataclass(frozen=True)
class Neighbours:
    """Other galaxies and stars in the field.

    Attributes:
        galaxies: Their mean number (Poisson).
        stars: The same of stars.
        distance: From the centre, uniform in area, over the Einstein radius.
        ratio: Total light over that of the source before lensing, log-uniform.
        index: Sersic index.
        radius: Effective radius of galaxies, log-uniform. *Unit*: arcsec.
    """

    galaxies: float = 0.5
    stars: float = 0.2
    distance: Range = (1.5, 4.0)
    ratio: Range = (0.02, 2.0)
    index: Range = (0.7, 4.0)
    radius: Range = (0.1, 0.6)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        for name in ("galaxies", "stars"):
            value = getattr(self, name)
            check_range(name, (value, value), 0.0, 100.0)
        check_range("distance", self.distance, 0.0, 1e3)
        check_range("ratio", self.ratio, 1e-6, 1e6)
        check_range("index", self.index, 0.3, 8.0)
        check_range("radius", self.radius, 1e-3, 100.0)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """See `LightComponent.draw`."""
        x, y, flux = self._places(rng, lens, self.galaxies)
        radius = log_uniform(rng, self.radius, x.shape)
        index = rng.uniform(*self.index, x.shape)
        drawn = {
            "light_x": x,
            "light_y": y,
            "light_amplitude": flux / sersic_flux(index, radius),
            "light_radius": radius,
            "light_index": index,
            "light_axis_ratio": rng.uniform(0.3, 1.0, x.shape),
            "light_angle": rng.uniform(0, np.pi, x.shape),
        }
        x, y, flux = self._places(rng, lens, self.stars)
        return drawn | {"star_x": x, "star_y": y, "star_flux": flux}

    def _places(
        self, rng: np.random.Generator, lens: Arrays, mean: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        number = rng.poisson(mean, len(lens["theta_e"]))
        used = np.arange(number.max(initial=0)) < number[:, None]
        low, high = self.distance
        distance = np.sqrt(rng.uniform(low**2, high**2, used.shape))
        distance *= lens["theta_e"][:, None]
        angle = rng.uniform(0, 2 * np.pi, used.shape)
        flux = log_uniform(rng, self.ratio, used.shape)
        flux *= lens["source_flux"][:, None]
        x = np.where(used, distance * np.cos(angle), FAR)
        y = np.where(used, distance * np.sin(angle), FAR)
        return x, y, np.where(used, flux, 0.0)


@dataclass(frozen=True)
class Clumps:
    """Knots of the source, scattered or along two spiral arms, lensed with it.

    Attributes:
        share: How many of the sources have any, from 0 to 1.
        number: Their mean number (Poisson) where there are any.
        ratio: Light of one over that of the smooth source, log-uniform.
        radius: Effective radius over the source's, log-uniform; they are exponential.
        spiral: How many of the clumpy sources have them along arms.
    """

    share: float = 0.5
    number: float = 5.0
    ratio: Range = (0.01, 0.2)
    radius: Range = (0.05, 0.3)
    spiral: float = 0.5

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        for name in ("share", "spiral"):
            value = getattr(self, name)
            check_range(name, (value, value), 0.0, 1.0)
        check_range("number", (self.number, self.number), 0.0, 100.0)
        check_range("ratio", self.ratio, 1e-6, 1e6)
        check_range("radius", self.radius, 1e-3, 100.0)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """See `LightComponent.draw`."""
        n, size = len(lens["theta_e"]), lens["effective_radius"][:, None]
        number = rng.poisson(self.number, n) * (rng.uniform(size=n) < self.share)
        used = np.arange(number.max(initial=0)) < number[:, None]
        distance = np.sqrt(rng.uniform(0.05, 4.0, used.shape))  # in effective radii
        angle = rng.uniform(0, 2 * np.pi, used.shape)
        # Two logarithmic arms of a pitch of about 20 degrees.
        arms = np.log(distance) / math.tan(math.radians(20))
        arms += np.pi * rng.integers(0, 2, used.shape) + rng.normal(0, 0.2, used.shape)
        wound = (rng.uniform(size=n) < self.spiral)[:, None]
        angle = np.where(wound, arms * rng.choice([-1, 1], (n, 1)), angle)
        # On the source's ellipse.
        q = np.sqrt(lens["axis_ratio"])[:, None]
        along, across = distance * np.cos(angle) / q, distance * np.sin(angle) * q
        cos, sin = np.cos(lens["source_angle"]), np.sin(lens["source_angle"])
        x = (along * cos[:, None] - across * sin[:, None]) * size
        y = (along * sin[:, None] + across * cos[:, None]) * size
        radius = log_uniform(rng, self.radius, used.shape) * size
        flux = log_uniform(rng, self.ratio, used.shape) * lens["source_flux"][:, None]
        return {
            "clump_x": np.where(used, x + lens["source_x"][:, None], FAR),
            "clump_y": np.where(used, y + lens["source_y"][:, None], FAR),
            "clump_amplitude": np.where(used, flux / sersic_flux(1.0, radius), 0.0),
            "clump_radius": radius,
            "clump_index": np.ones(used.shape),
            "clump_axis_ratio": rng.uniform(0.5, 1.0, used.shape),
            "clump_angle": rng.uniform(0, np.pi, used.shape),
        }
