"""What an instrument does to the light of each lens: blurring and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._checks import check_range
from lensequiv.simulation.lights import sersic_flux
from lensequiv.simulation.noise import normal
from lensequiv.simulation.substructure import Range, log_uniform

__all__ = ["Blur", "Detector"]

Arrays = dict[str, NDArray[np.float64]]

_HOT = 3  # numbers that one defect needs: row, column, brightness


@dataclass(frozen=True)
class Blur:
    """Point-spread functions, one for each lens, sampled at pixel centres.

    Attributes:
        fwhm: Full width at half maximum, log-uniform. *Unit*: pixels.
        beta: Exponent of a Moffat profile (larger: nearer to a Gaussian).
        moffat: How many are Moffat profiles, from 0 to 1; the others are Gaussian.
        axis_ratio: Minor over major axis, any direction.
    """

    fwhm: Range
    beta: Range = (2.0, 5.0)
    moffat: float = 0.0
    axis_ratio: Range = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        check_range("fwhm", self.fwhm, 0.1, 100.0)
        check_range("beta", self.beta, 1.1, 100.0)
        check_range("moffat", (self.moffat, self.moffat), 0.0, 1.0)
        check_range("axis_ratio", self.axis_ratio, 0.2, 1.0)

    def draw(self, rng: np.random.Generator, lenses: int) -> Arrays:
        """Draws `psf_fwhm` (pixels), `psf_beta` (0: Gaussian) and the ellipse."""
        beta = rng.uniform(*self.beta, lenses)
        return {
            "psf_fwhm": log_uniform(rng, self.fwhm, lenses),
            "psf_beta": np.where(rng.uniform(size=lenses) < self.moffat, beta, 0.0),
            "psf_axis_ratio": rng.uniform(*self.axis_ratio, lenses),
            # No `_angle`: the instrument does not turn with the sky.
            "psf_direction": rng.uniform(0, np.pi, lenses),
        }


def psf_kernels(lens: dict[str, Tensor], size: int) -> Tensor:
    """Kernels of sum 1.

    Args:
        lens: What `Blur.draw` drew, (B,) each.
        size: Side in pixels, odd.

    Returns:
        (B, size, size), of the dtype and on the device of the draws.
    """
    fwhm = lens["psf_fwhm"][:, None, None]
    at = torch.arange(size, dtype=fwhm.dtype, device=fwhm.device) - (size - 1) / 2
    turn, q = lens["psf_direction"][:, None, None], lens["psf_axis_ratio"]
    along = at * turn.cos() + at[:, None] * turn.sin()
    across = at[:, None] * turn.cos() - at * turn.sin()
    q = q[:, None, None]
    r2 = (q * along.square() + across.square() / q) * (2 / fwhm) ** 2
    beta = lens["psf_beta"][:, None, None]
    safe = torch.where(beta > 0, beta, 1.0)
    moffat = (1 + r2 * (2 ** (1 / safe) - 1)) ** -safe
    kernel = torch.where(beta > 0, moffat, 2**-r2)
    return kernel / kernel.sum((1, 2), keepdim=True)


def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Each image with its own kernel; nothing comes in over the edge.

    Args:
        images: (B, n, n).
        kernels: (B, k, k), k odd.

    Returns:
        (B, n, n).
    """
    n, k = images.shape[-1], kernels.shape[-1]
    side = n + k // 2
    side += -side % 12  # a size that Fourier transforms like
    product = torch.fft.rfft2(images, s=(side, side))
    product *= torch.fft.rfft2(kernels, s=(side, side))
    full: Tensor = torch.fft.irfft2(product, s=(side, side))
    return full[:, k // 2 : k // 2 + n, k // 2 : k // 2 + n]


@dataclass(frozen=True)
class Detector:
    """Exposures and noise that differ from lens to lens; the sky is subtracted.

    The source is given the brightness at which a lens of magnification about 4 has the
    drawn signal-to-noise in its brightest pixel. Images are in electrons.

    Attributes:
        peak_snr: Signal-to-noise of the brightest pixel, roughly; log-uniform.
        sky_level: Subtracted sky, log-uniform. *Unit*: electrons/pixel.
        read_noise: *Unit*: electrons.
        correlation: Weight of the four nearest pixels in each noise value, as drizzling
            leaves it; 0 is white noise.
        gradient: Slope of the sky that was left, from the centre to the edge, in units
            of the noise of an empty pixel; any direction.
        noiseless: How many images have no noise at all, from 0 to 1.
        defects: Mean number (Poisson) of hot or dead pixels.
        sky: What stays in the image: always 0.
    """

    pixelwise: ClassVar[bool] = False  # gradients, defects and correlated noise

    peak_snr: Range = (4.0, 300.0)
    sky_level: Range = (3.0, 3000.0)
    read_noise: Range = (0.0, 8.0)
    correlation: Range = (0.0, 0.4)
    gradient: Range = (0.0, 1.0)
    noiseless: float = 0.0
    defects: float = 0.0
    sky: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        check_range("peak_snr", self.peak_snr, 1e-3, 1e6)
        check_range("sky_level", self.sky_level, 1e-3, 1e9)
        check_range("read_noise", self.read_noise, 0.0, 1e6)
        check_range("correlation", self.correlation, 0.0, 1.0)
        check_range("gradient", self.gradient, 0.0, 1e3)
        check_range("noiseless", (self.noiseless, self.noiseless), 0.0, 1.0)
        check_range("defects", (self.defects, self.defects), 0.0, 1e3)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """Draws brightness and noise of some lenses.

        Args:
            rng: Source of randomness.
            lens: `sersic_index` (lenses,) of the source.
        """
        n = len(lens["sersic_index"])
        snr = log_uniform(rng, self.peak_snr, n)
        sky = log_uniform(rng, self.sky_level, n)
        read = rng.uniform(*self.read_noise, n)
        dark = sky + read**2
        peak = (snr**2 + snr * np.sqrt(snr**2 + 4 * dark)) / 2
        # The brightest pixel has about 3.5 times the mean within the effective radius.
        mean = sersic_flux(lens["sersic_index"], 1.0) / (2 * np.pi)
        direction = rng.uniform(0, 2 * np.pi, n)
        slope = rng.uniform(*self.gradient, n) * np.sqrt(dark)
        return {
            "amplitude": peak / (3.5 * mean),
            "dark_variance": dark,
            "correlation": rng.uniform(*self.correlation, n),
            "gradient_right": slope * np.cos(direction),
            "gradient_down": slope * np.sin(direction),
            "noiseless": (rng.uniform(size=n) < self.noiseless).astype(float),
            "defects": rng.poisson(self.defects, n).astype(float),
        }

    def add(
        self, rng: np.random.Generator, image: NDArray[np.float32], exposure: float
    ) -> NDArray[np.float32]:
        """Refuses: the noise depends on more than the exposure.

        Raises:
            TypeError: Always; `observe` adds this noise.
        """
        raise TypeError("Detector draws its noise with each lens: use observe")

    def observe(
        self, images: Tensor, lens: dict[str, Tensor], normals: Tensor, hot: Tensor
    ) -> Tensor:
        """Adds gradient, noise and defects.

        Args:
            images: (B, n, n) expected electrons without the sky.
            lens: What `draw` drew, (B,) each, on the same device.
            normals: (B, n, n) standard normal deviates.
            hot: (B, D, 3) uniform deviates: row, column and brightness of defects.

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
        return result

    def add_batch(
        self, images: Tensor, lens: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """See `BatchNoise.add_batch`.

        An image has no more defects than all but one in 1e9 draws from `defects` have.
        """
        hot = torch.rand(
            (len(images), most_defects(self.defects), _HOT),
            generator=generator,
            dtype=images.dtype,
            device=images.device,
        )
        return self.observe(images, lens, normal(images, generator), hot)

    def deviates(
        self, rng: np.random.Generator, size: int, defects: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The random numbers of one image on the processor; see `observe`."""
        normals = rng.standard_normal((size, size), dtype=np.float32)
        return normals, rng.random((defects, _HOT), dtype=np.float32)


def most_defects(mean: float) -> int:
    """The number that a Poisson deviate exceeds once in 1e9 times."""
    number, term = 0, math.exp(-mean)
    below = term
    while below < 1 - 1e-9 and number < mean + 10 * (1 + math.sqrt(mean)):
        number += 1
        term *= mean / number
        below += term
    return number
