"""Point-spread functions, one for each lens: formulas, or pictures of stars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._checks import check_range
from lensequiv.simulation._library import psf_library
from lensequiv.simulation.substructure import Range, log_uniform

__all__ = ["Blur", "PSFImages", "PointSpread", "convolve"]

Arrays = dict[str, NDArray[np.float64]]


class PointSpread(Protocol):
    """Draws point-spread functions; none of their numbers turns with the sky."""

    def draw(self, rng: np.random.Generator, lenses: int) -> Arrays:
        """Draws (lenses,) arrays whose names begin with `psf_`."""

    def kernels(self, lens: dict[str, Tensor], size: int) -> Tensor:
        """Kernels of sum 1.

        Args:
            lens: What `draw` drew, (B,) each.
            size: Side in pixels, odd.

        Returns:
            (B, size, size), of the dtype and on the device of the draws.
        """


@dataclass(frozen=True)
class Blur:
    """Gaussian and Moffat point-spread functions, sampled at pixel centres.

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

    def kernels(self, lens: dict[str, Tensor], size: int) -> Tensor:
        """See `PointSpread.kernels`."""
        fwhm = lens["psf_fwhm"][:, None, None]
        along, across = _turned(size, lens["psf_direction"])
        q = lens["psf_axis_ratio"][:, None, None]
        r2 = (q * along.square() + across.square() / q) * (2 / fwhm) ** 2
        beta = lens["psf_beta"][:, None, None]
        safe = torch.where(beta > 0, beta, 1.0)
        moffat = (1 + r2 * (2 ** (1 / safe) - 1)) ** -safe
        kernel = torch.where(beta > 0, moffat, 2**-r2)
        return kernel / kernel.sum((1, 2), keepdim=True)


@dataclass(frozen=True)
class PSFImages:
    """Point-spread functions from pictures, each lens with one of them.

    The picture is turned, since exposures have any roll angle, made wider or narrower,
    and sampled at pixel centres, linearly between its own samples.

    Attributes:
        path: An image or a folder of images, odd squares of one size with the peak in
            the middle, in any format that `lensequiv.data.read_image` takes. If None,
            the package's own: eight empirical ones of Hubble's ACS in F814W.
        oversampling: Samples of the pictures a pixel of the lenses; 4 for the package's
            own and pixels of 0.05 arcsec.
        width: Factor on the width, log-uniform.
        turned: Whether they are turned by any angle.
    """

    path: str | None = None
    oversampling: float = 4.0
    width: Range = (1.0, 1.0)
    turned: bool = True

    def __post_init__(self) -> None:
        """Checks the numbers, and the pictures if they are not the package's own.

        Raises:
            ValueError: A number is out of range.
            FileNotFoundError: There is no such file or folder.
            lensequiv.data.ImageError: A picture is no point-spread function.
        """
        check_range("oversampling", (self.oversampling, self.oversampling), 0.1, 100.0)
        check_range("width", self.width, 0.1, 10.0)
        if self.path is not None:
            object.__setattr__(self, "path", str(self.path))
            psf_library(self.path)

    def draw(self, rng: np.random.Generator, lenses: int) -> Arrays:
        """Draws `psf_image` (which one), `psf_width` and `psf_direction` (radians)."""
        count = len(psf_library(self.path))
        direction = rng.uniform(0, 2 * np.pi, lenses)
        return {
            "psf_image": rng.integers(0, count, lenses).astype(np.float64),
            "psf_width": log_uniform(rng, self.width, lenses),
            "psf_direction": direction * self.turned,
        }

    def kernels(self, lens: dict[str, Tensor], size: int) -> Tensor:
        """See `PointSpread.kernels`."""
        width = lens["psf_width"][:, None, None]
        library = psf_library(self.path, width.device).to(width.dtype)
        # Samples from the middle, then as grid_sample counts them: -1 to 1 over all.
        scale = 2 * self.oversampling / library.shape[-1] / width
        at = [axis * scale for axis in _turned(size, lens["psf_direction"])]
        chosen = library[lens["psf_image"].long()][:, None]
        kernel = F.grid_sample(chosen, torch.stack(at, -1), align_corners=False)[:, 0]
        return kernel / kernel.sum((1, 2), keepdim=True)


def _turned(size: int, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of (B, size, size) kernels along and across (B,) directions."""
    at = torch.arange(size, dtype=direction.dtype, device=direction.device)
    at = at - (size - 1) / 2
    turn = direction[:, None, None]
    along = at * turn.cos() + at[:, None] * turn.sin()
    return along, at[:, None] * turn.cos() - at * turn.sin()


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
