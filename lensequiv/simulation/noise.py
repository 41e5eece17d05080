"""From light to counts: what the sky and the detector add to an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "BatchNoise",
    "CoaddNoise",
    "KnownNoise",
    "Noise",
    "Noiseless",
    "PoissonSky",
    "ThreefoldNoise",
]

Image = NDArray[np.float32]


class Noise(Protocol):
    """Adds noise to one image.

    This is all that a noise of your own needs. With `BatchNoise.add_batch` besides it
    is drawn where the images are; without it images on a GPU travel to the processor
    and back.
    """

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


@runtime_checkable
class BatchNoise(Noise, Protocol):
    """Adds noise to many images at once, on any device.

    Attributes:
        pixelwise: Whether the noise of a pixel depends on that pixel alone, so that a
            part of an image may be given instead of the whole.
    """

    pixelwise: ClassVar[bool]

    def add_batch(
        self, images: Tensor, lens: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """Draws noisy images.

        Args:
            images: (N, H, W) float32 expected counts, `sky` included.
            lens: What was drawn of each lens, (N,) each, on the device of the images:
                `exposure`, which the expected light was multiplied with, and others.
            generator: Source of randomness, of the same device.

        Returns:
            (N, H, W) images with noise, in the same unit and on the same device:
            equal in distribution to those of `add`.
        """


@runtime_checkable
class KnownNoise(Protocol):
    """Noise whose strength is known: what signals are measured against."""

    def variance(self, images: Tensor, lens: Mapping[str, Tensor]) -> Tensor:
        """Of each pixel.

        Args:
            images: (N, H, W) expected images, without noise.
            lens: What was drawn of each lens, (N,) each, as in `BatchNoise.add_batch`.

        Returns:
            (N, H, W), positive, in the square of the unit of `images`.
        """


LEAST = 1e-6  # counts or electrons: no pixel is without noise


@dataclass(frozen=True)
class Noiseless:
    """No noise and no sky, as in the public files of DeepLenseSim's Models II and III.

    Attributes:
        sky: Always 0.
    """

    pixelwise: ClassVar[bool] = True

    sky: float = 0.0

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """See `Noise.add`."""
        return image

    def add_batch(
        self, images: Tensor, lens: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """See `BatchNoise.add_batch`."""
        return images


@dataclass(frozen=True)
class PoissonSky:
    """Poisson noise of source and sky together; the sky stays in the image.

    Attributes:
        sky: *Unit*: counts/pixel.
    """

    pixelwise: ClassVar[bool] = True

    sky: float

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """See `Noise.add`."""
        # Lens light that was subtracted too strongly leaves less than nothing.
        return rng.poisson(np.maximum(image, 0)).astype(np.float32)

    def add_batch(
        self, images: Tensor, lens: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """See `BatchNoise.add_batch`."""
        # As in `add`; rounding, too, may leave dark pixels just below 0.
        return torch.poisson(images.clamp_min(0), generator=generator)

    def variance(self, images: Tensor, lens: Mapping[str, Tensor]) -> Tensor:
        """See `KnownNoise.variance`."""
        return images.clamp_min(LEAST)


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

    pixelwise: ClassVar[bool] = True

    background: float = 1e-2
    sky: float = 0.0

    def add(self, rng: np.random.Generator, image: Image, exposure: float) -> Image:
        """See `Noise.add`."""
        spread = np.sqrt(np.abs(image))
        mean = image + spread * rng.standard_normal(image.shape)
        mean += self.background * exposure * rng.standard_normal(image.shape)
        return rng.poisson(np.maximum(mean, 0)).astype(np.float32)

    def add_batch(
        self, images: Tensor, lens: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """See `BatchNoise.add_batch`."""
        background = (self.background * lens["exposure"]).to(images.dtype)
        mean = torch.addcmul(images, images.abs().sqrt_(), normal(images, generator))
        mean.addcmul_(background[:, None, None], normal(images, generator))
        return torch.poisson(mean.clamp_min_(0), generator=generator)

    def variance(self, images: Tensor, lens: Mapping[str, Tensor]) -> Tensor:
        """See `KnownNoise.variance`; too large where negative ones are set to 0."""
        background = (self.background * lens["exposure"])[:, None, None]
        return 2 * images.clamp_min(LEAST) + background.square()


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

    pixelwise: ClassVar[bool] = True

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

    def add_batch(
        self, images: Tensor, lens: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """See `BatchNoise.add_batch`."""
        time = self.exposure * self.exposures
        noisy = images.add(normal(images, generator), alpha=self.background)
        spread = images.abs().div_(time).sqrt_()
        return noisy.addcmul_(spread, normal(images, generator))

    def variance(self, images: Tensor, lens: Mapping[str, Tensor]) -> Tensor:
        """See `KnownNoise.variance`."""
        return images.abs() / (self.exposure * self.exposures) + self.background**2


def normal(images: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal deviates, one a pixel."""
    return torch.randn(
        images.shape, generator=generator, dtype=images.dtype, device=images.device
    )


def is_pixelwise(noise: Noise) -> bool:
    """Whether the noise of a pixel is known to depend on that pixel alone."""
    return isinstance(noise, BatchNoise) and noise.pixelwise
