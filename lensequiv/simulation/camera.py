"""Cameras: exposures of sources whose magnitudes are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._checks import check_range
from lensequiv.simulation.detector import ElectronNoise
from lensequiv.simulation.lights import sersic_flux
from lensequiv.simulation.substructure import Range, log_uniform

__all__ = ["Camera"]

Arrays = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Camera(ElectronNoise):
    """A camera's co-added exposures, in electrons, of sources of given magnitudes.

    Attributes:
        zero_point: Magnitude of one electron per second.
        magnitude: Of the source before lensing, uniform.
        sky_brightness: Of the sky, which is subtracted; uniform. *Unit*: magnitudes per
            square arcsec.
        exposure: Of all exposures together, log-uniform. *Unit*: s.
        exposures: How many there are: each adds its read-out noise.
        dark_current: *Unit*: electrons/pixel/s.
        full_well: Above so many electrons an exposure a pixel is saturated; None:
            never.
        gain: Electrons a count. If given, images are in counts, and those with noise
            in whole ones, since every exposure was rounded. None: in electrons.
    """

    zero_point: float = 25.94
    magnitude: Range = (22.5, 25.0)
    sky_brightness: Range = (22.0, 22.0)
    exposure: Range = (2000.0, 2000.0)
    exposures: int = 4
    dark_current: float = 0.0
    full_well: float | None = None
    gain: float | None = field(default=None, kw_only=True)
    read_noise: Range = (4.0, 4.0)
    correlation: Range = (0.0, 0.0)
    gradient: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: One is out of range.
        """
        super().__post_init__()
        for name in ("zero_point", "dark_current", "exposures"):
            value = getattr(self, name)
            check_range(name, (value, value), float(name == "exposures"), 1e4)
        check_range("magnitude", self.magnitude, 0.0, 40.0)
        check_range("sky_brightness", self.sky_brightness, 10.0, 40.0)
        check_range("exposure", self.exposure, 1e-3, 1e8)
        if self.full_well is not None:
            check_range("full_well", (self.full_well, self.full_well), 1.0, 1e9)
        if self.gain is not None:
            check_range("gain", (self.gain, self.gain), 1e-3, 1e6)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """See `ElectronNoise.draw`; `source_magnitude` and `exposure_time` besides."""
        n = len(lens["sersic_index"])
        time = log_uniform(rng, self.exposure, n)
        magnitude = rng.uniform(*self.magnitude, n)
        sky = rng.uniform(*self.sky_brightness, n)
        area = lens["pixel_scale"] ** 2
        electrons = 10 ** (0.4 * (self.zero_point - np.stack([magnitude, sky]))) * time
        read = rng.uniform(*self.read_noise, n)
        dark = electrons[1] * area + self.dark_current * time + self.exposures * read**2
        light = sersic_flux(lens["sersic_index"], lens["effective_radius"])
        drawn = {
            "amplitude": electrons[0] * area / light,
            "source_magnitude": magnitude,
            "exposure_time": time,
        }
        if self.gain is not None:
            # Rounding the sum counts as one of the roundings of all exposures.
            dark = dark + (self.exposures - 1) * self.gain**2 / 12
            drawn["amplitude"] = drawn["amplitude"] / self.gain
            drawn["gain"] = np.full(n, self.gain)
        return drawn | self._flaws(rng, dark)

    def variance(self, images: Tensor, lens: Mapping[str, Tensor]) -> Tensor:
        """See `ElectronNoise.variance`; in counts, squared, if there is a gain."""
        if self.gain is None:
            return super().variance(images, lens)
        return super().variance(images * self.gain, lens) / self.gain**2

    def observe(
        self,
        images: Tensor,
        lens: dict[str, Tensor],
        normals: Tensor,
        hot: Tensor,
        tracks: Tensor,
    ) -> Tensor:
        """See `ElectronNoise.observe`; from counts to counts if there is a gain."""
        if self.gain is not None:
            images = images * self.gain
        return super().observe(images, lens, normals, hot, tracks)

    def read_out(self, electrons: Tensor) -> Tensor:
        """See `ElectronNoise.read_out`; saturated pixels have what fills them."""
        if self.full_well is not None:
            electrons = electrons.clamp_max(self.full_well * self.exposures)
        if self.gain is not None:
            electrons = (electrons / self.gain).round_()
        return electrons
