"""Noise that differs from lens to lens: of any depth, or of a camera in magnitudes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._checks import check_range
from lensequiv.simulation._cosmic_rays import TRACK_NUMBERS, add_tracks
from lensequiv.simulation.lights import sersic_flux
from lensequiv.simulation.noise import LEAST, normal
from lensequiv.simulation.substructure import Range, log_uniform

__all__ = ["Detector", "ElectronNoise"]

Arrays = dict[str, NDArray[np.float64]]

_HOT = 3  # numbers that one defect needs: row, column, brightness


@dataclass(frozen=True)
class ElectronNoise:
    """Noise around electrons from which the sky has been subtracted.

    What differs from lens to lens is drawn with it; `Detector` and `Camera` say how.

    Attributes:
        read_noise: Of an exposure. *Unit*: electrons.
        correlation: Weight of the four nearest pixels in each noise value, as drizzling
            leaves it; 0 is white noise.
        gradient: Slope of the sky that was left, from the centre to the edge, in units
            of the noise of an empty pixel; any direction.
        noiseless: How many images have no noise at all, from 0 to 1.
        defects: Mean number (Poisson) of hot or dead pixels.
        eight_bits: How many images are rounded to 256 levels as pictures are, the
            brightest and the darkest 0.2 % of their pixels being white and black, from
            0 to 1.
        sky: What stays in the image: always 0.
        cosmic_rays: Mean number (Poisson) of cosmic rays of which a track is left in
            the image. 150 x 150 pixels of Hubble's ACS are hit 80 to 170 times in 1000
            s (Riess 2002, ACS ISR 2002-07); combining exposures takes nearly all away.
    """

    pixelwise: ClassVar[bool] = False  # gradients, defects and correlated noise

    read_noise: Range = (0.0, 8.0)
    correlation: Range = (0.0, 0.4)
    gradient: Range = (0.0, 1.0)
    noiseless: float = 0.0
    defects: float = 0.0
    eight_bits: float = 0.0
    sky: float = 0.0
    cosmic_rays: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        check_range("read_noise", self.read_noise, 0.0, 1e6)
        check_range("correlation", self.correlation, 0.0, 1.0)
        check_range("gradient", self.gradient, 0.0, 1e3)
        for name in ("noiseless", "eight_bits"):
            check_range(name, (getattr(self, name),) * 2, 0.0, 1.0)
        for name in ("defects", "cosmic_rays"):
            check_range(name, (getattr(self, name),) * 2, 0.0, 1e3)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """Draws brightness and noise of some lenses.

        Args:
            rng: Source of randomness.
            lens: (lenses,) of what `Recipe.spread` names.

        Returns:
            (lenses,) arrays: `amplitude`, `dark_variance` (electrons^2), and what
            `observe` needs besides.
        """
        raise NotImplementedError

    def _flaws(self, rng: np.random.Generator, dark: NDArray[np.float64]) -> Arrays:
        """Draws everything but the brightness, given the variance of empty pixels."""
        n = len(dark)
        direction = rng.uniform(0, 2 * np.pi, n)
        slope = rng.uniform(*self.gradient, n) * np.sqrt(dark)
        drawn = {
            "dark_variance": dark,
            "correlation": rng.uniform(*self.correlation, n),
            "gradient_right": slope * np.cos(direction),
            "gradient_down": slope * np.sin(direction),
            "noiseless": (rng.uniform(size=n) < self.noiseless).astype(float),
            "defects": rng.poisson(self.defects, n).astype(float),
        }
        if self.eight_bits > 0:
            drawn["eight_bits"] = (rng.uniform(size=n) < self.eight_bits).astype(float)
        if self.cosmic_rays > 0:
            drawn["cosmic_rays"] = rng.poisson(self.cosmic_rays, n).astype(float)
        return drawn

    def add(
        self, rng: np.random.Generator, image: NDArray[np.float32], exposure: float
    ) -> NDArray[np.float32]:
        """Refuses: the noise depends on more than the exposure.

        Raises:
            TypeError: Always; `observe` adds this noise.
        """
        raise TypeError(
            f"{type(self).__name__} draws its noise with each lens: use observe"
        )

    def observe(
        self,
        images: Tensor,
        lens: dict[str, Tensor],
        normals: Tensor,
        hot: Tensor,
        tracks: Tensor,
    ) -> Tensor:
        """Adds gradient, noise, defects and cosmic rays.

        Args:
            images: (B, n, n) expected electrons without the sky.
            lens: What `draw` drew, (B,) each, on the same device.
            normals: (B, n, n) standard normal deviates.
            hot: (B, D, 3) uniform deviates: row, column and brightness of defects.
            tracks: (B, T, 4) uniform deviates, see `add_tracks`.

        Returns:
            (B, n, n).
        """
        p = {
            name: lens[name].to(images.dtype)[:, None, None]
            for name in (
                "dark_variance",
                "correlation",
                "gradient_right",
                "gradient_down",
                "noiseless",
            )
        }
        n = images.shape[-1]
        at = torch.linspace(-1, 1, n, dtype=images.dtype, device=images.device)
        noisy = 1 - p["noiseless"]
        weight = p["correlation"]
        smooth = normals.clone()
        for axis in (1, 2):
            rest = normals.shape[axis] - 1
            near = normals.narrow(axis, 0, rest), normals.narrow(axis, 1, rest)
            smooth.narrow(axis, 1, rest).addcmul_(weight, near[0])
            smooth.narrow(axis, 0, rest).addcmul_(weight, near[1])
        sigma = (images.clamp_min(0) + p["dark_variance"]).sqrt_()
        sigma.mul_(noisy / (1 + 4 * weight.square()).sqrt())
        result = torch.addcmul(images, smooth, sigma)
        result += noisy * (p["gradient_right"] * at + p["gradient_down"] * at[:, None])
        lenses = torch.arange(len(images), device=images.device)
        peak = images.amax((1, 2))
        for k in range(hot.shape[1]):
            row, column = ((hot[:, k, i] * n).long().clamp_max(n - 1) for i in (0, 1))
            pixels = lenses, row, column
            value = peak * (3 * hot[:, k, 2] - 1)
            result[pixels] = torch.where(lens["defects"] > k, value, result[pixels])
        if self.cosmic_rays > 0:
            result = add_tracks(result, lens["cosmic_rays"], tracks)
        result = self.read_out(result)
        if self.eight_bits > 0:
            rounded = _in_levels(result, 256)
            result = torch.where(lens["eight_bits"][:, None, None] > 0, rounded, result)
        return result

    def variance(self, images: Tensor, lens: Mapping[str, Tensor]) -> Tensor:
        """See `KnownNoise.variance`; gradients, defects and rays do not count."""
        return images.clamp_min(LEAST) + lens["dark_variance"][:, None, None]

    def read_out(self, electrons: Tensor) -> Tensor:
        """What a detector makes of (B, n, n) electrons: itself, if nothing else."""
        return electrons

    def add_batch(
        self, images: Tensor, lens: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """See `BatchNoise.add_batch`.

        An image has no more defects than all but one in 1e9 draws from `defects` have,
        and no more cosmic rays.
        """

        def uniform(mean: float, numbers: int) -> Tensor:
            return torch.rand(
                (len(images), most_defects(mean), numbers),
                generator=generator,
                dtype=images.dtype,
                device=images.device,
            )

        hot = uniform(self.defects, _HOT)
        normals = normal(images, generator)
        tracks = uniform(self.cosmic_rays, TRACK_NUMBERS)
        return self.observe(images, lens, normals, hot, tracks)

    def deviates(
        self, rng: np.random.Generator, size: int, defects: int, tracks: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The random numbers of one image on the processor; see `observe`."""
        normals = rng.standard_normal((size, size), dtype=np.float32)
        hot = rng.random((defects, _HOT), dtype=np.float32)
        # Of a stream of their own: other images of a batch may have more defects.
        numbers = rng.spawn(1)[0].random((tracks, TRACK_NUMBERS), dtype=np.float32)
        return normals, hot, numbers


@dataclass(frozen=True)
class Detector(ElectronNoise):
    """Images of any depth, in electrons.

    The source is given the brightness at which a lens of magnification about 4 has the
    drawn signal-to-noise in its brightest pixel.

    Attributes:
        peak_snr: Signal-to-noise of the brightest pixel, roughly; log-uniform.
        sky_level: Subtracted sky, log-uniform. *Unit*: electrons/pixel.
    """

    peak_snr: Range = (4.0, 300.0)
    sky_level: Range = (3.0, 3000.0)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        super().__post_init__()
        check_range("peak_snr", self.peak_snr, 1e-3, 1e6)
        check_range("sky_level", self.sky_level, 1e-3, 1e9)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """See `ElectronNoise.draw`."""
        n = len(lens["sersic_index"])
        snr = log_uniform(rng, self.peak_snr, n)
        sky = log_uniform(rng, self.sky_level, n)
        dark = sky + rng.uniform(*self.read_noise, n) ** 2
        peak = (snr**2 + snr * np.sqrt(snr**2 + 4 * dark)) / 2
        # The brightest pixel has about 3.5 times the mean within the effective radius.
        mean = sersic_flux(lens["sersic_index"], 1.0) / (2 * np.pi)
        return {"amplitude": peak / (3.5 * mean), **self._flaws(rng, dark)}


def _in_levels(images: Tensor, levels: int) -> Tensor:
    """Rounded to equal steps between the 0.2th and the 99.8th percentile, and cut."""
    pixels = images.flatten(1)
    black = math.ceil(0.002 * pixels.shape[1])
    low, high = (
        pixels.kthvalue(rank, dim=1).values[:, None, None]
        for rank in (black, pixels.shape[1] + 1 - black)
    )
    step = (high - low).clamp_min_(1e-30) / (levels - 1)
    cut = images.minimum(high).maximum(low)
    return ((cut - low) / step).round_().mul_(step).add_(low)


def most_defects(mean: float) -> int:
    """The number that a Poisson deviate exceeds once in 1e9 times."""
    number, term = 0, math.exp(-mean)
    below = term
    while below < 1 - 1e-9 and number < mean + 10 * (1 + math.sqrt(mean)):
        number += 1
        term *= mean / number
        below += term
    return number
