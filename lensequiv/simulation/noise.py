"""From light to counts: what the sky and the detector add to an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CoaddNoise", "Noise", "Noiseless", "PoissonSky", "ThreefoldNoise"]

Image = NDArray[np.float32]


class Noise(Protocol):
    """Adds noise to one image."""

    @property
    def sky(self) -> float:
        """Sky that stays in the image. *Unit*: counts/pixel."""

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """Draws a noisy image.

        Args:
            rng: Source of randomness.
            image: (pixels, pixels) expected counts, `sky` included.
            exposure: What the expected light was multiplied with.

        Returns:
            The image with noise, float32, in the same unit.
        """


@dataclass(frozen=True)
class Noiseless:
    """No noise and no sky, as in the public files of DeepLenseSim's Models II and III.

    Attributes:
        sky: Always 0.
    """

    sky: float = 0.0

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """See `Noise.add`."""
        return image


@dataclass(frozen=True)
class PoissonSky:
    """Poisson noise of source and sky together; the sky stays in the image.

    Attributes:
        sky: *Unit*: counts/pixel.
    """

    sky: float

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """See `Noise.add`."""
        return rng.poisson(image).astype(np.float32)


@dataclass(frozen=True)
class ThreefoldNoise:
    """The noise of DeepLenseSim's Model I, with its authors' surplus.

    They add the normal approximation of the photon noise and a normal background to
    the light, and then draw a Poisson deviate with *that* as its mean (negative ones
    set to 0), so the photon noise counts twice. (code)

    Attributes:
        background: Standard deviation per unit of exposure. *Unit*: counts/pixel/s.
        sky: Always 0.
    """

    background: float = 1e-2
    sky: float = 0.0

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """See `Noise.add`."""
        spread = np.sqrt(np.abs(image))
        mean = image + spread * rng.standard_normal(image.shape)
        mean += self.background * exposure * rng.standard_normal(image.shape)
        return rng.poisson(np.maximum(mean, 0)).astype(np.float32)


@dataclass(frozen=True)
class CoaddNoise:
    """Sky, read-out and photon noise of co-added exposures, all as normal deviates.

    The sky is taken to have been subtracted, so pixels may be negative; images are in
    electrons per second. These are lenstronomy's `bkg_noise` and `flux_noise`.

    Attributes:
        exposure: Of one exposure. *Unit*: s.
        exposures: How many are co-added.
        read_noise: *Unit*: electrons.
        sky_brightness: *Unit*: magnitudes per square arcsec.
        zero_point: Magnitude of one electron per second.
        pixel_scale: *Unit*: arcsec/pixel.
        sky: What stays in the image: always 0.
    """

    exposure: float
    exposures: int
    read_noise: float
    sky_brightness: float
    zero_point: float
    pixel_scale: float
    sky: float = 0.0

    @property
    def background(self) -> float:
        """Standard deviation of sky and read-out. *Unit*: electrons/pixel/s."""
        time = self.exposure * self.exposures
        sky = 10 ** (0.4 * (self.zero_point - self.sky_brightness))
        variance = self.exposures * self.read_noise**2
        variance += sky * self.pixel_scale**2 * time
        return math.sqrt(variance) / time

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """See `Noise.add`."""
        time = self.exposure * self.exposures
        noise = self.background * rng.standard_normal(image.shape)
        noise += np.sqrt(np.abs(image) / time) * rng.standard_normal(image.shape)
        return (image + noise).astype(np.float32)
