"""Real galaxies as sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._checks import check_range
from lensequiv.simulation._library import EXTENT, galaxy_library
from lensequiv.simulation.lights import sersic_flux

__all__ = ["Galaxies", "add_galaxies"]

Arrays = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Galaxies:
    """Pictures of galaxies in the place of the source's Sersic profile.

    A picture is freed of sky, noise and neighbours, mirrored half the time, turned by
    any angle, and scaled: its half-light radius becomes the source's effective radius,
    its light that of the Sersic profile which it replaces. It is read linearly between
    its points, 16 of which make a half-light radius; beyond four half-light radii there
    is nothing.

    Attributes:
        share: How many of the sources are such pictures, from 0 to 1.
        path: An image or a folder of images in any format that
            `lensequiv.data.read_image` takes, each with one galaxy in its middle and
            sky around it. If None, the package's own: twelve galaxies seen by Hubble
            and one seen by Webb in four filters.
    """

    share: float = 1.0
    path: str | None = None

    def __post_init__(self) -> None:
        """Checks the share, and the pictures if they are not the package's own.

        Raises:
            ValueError: The share is out of range.
            FileNotFoundError: There is no such file or folder.
            lensequiv.data.ImageError: A picture cannot be read, has pixels that are no
                numbers, is too small, or shows no galaxy.
        """
        check_range("share", (self.share, self.share), 0.0, 1.0)
        if self.path is not None:
            object.__setattr__(self, "path", str(self.path))
            galaxy_library(self.path)

    def draw(self, rng: np.random.Generator, lens: Arrays) -> Arrays:
        """Draws which picture, how it lies, and its brightness.

        Args:
            rng: Source of randomness.
            lens: What has been drawn of the lenses, see `LightComponent`.

        Returns:
            (lenses,) arrays: `galaxy_image` (-1: the Sersic profile instead),
            `galaxy_angle` (radians), `galaxy_parity` (-1: mirrored), and
            `galaxy_amplitude`, the light per squared half-light radius in units of the
            profile's brightness at its effective radius.
        """
        n = len(lens["theta_e"])
        number = rng.integers(0, len(galaxy_library(self.path)), n)
        real = rng.uniform(size=n) < self.share
        return {
            "galaxy_image": np.where(real, number, -1).astype(np.float64),
            "galaxy_angle": rng.uniform(0, 2 * np.pi, n),
            "galaxy_parity": rng.choice([-1.0, 1.0], n),
            "galaxy_amplitude": sersic_flux(lens["sersic_index"], 1.0),
        }


def add_galaxies(
    light: Tensor, x: Tensor, y: Tensor, lens: dict[str, Tensor], galaxies: Galaxies
) -> Tensor:
    """Puts pictures in the place of the Sersic profiles they replace.

    Args:
        light: (B, n, n) light of the profiles; is overwritten.
        x: (B, n, n) positions in the source plane; `y` likewise.
        y: See `x`.
        lens: What was drawn, (B,) each.
        galaxies: Which pictures.

    Returns:
        (B, n, n).
    """
    real = lens["galaxy_image"] >= 0
    # Another device would have to be waited for to learn which lenses have pictures.
    which = torch.arange(len(light), device=light.device)
    if light.device.type == "cpu":
        which = which[real]
    light.mul_(~real[:, None, None])
    textures = galaxy_library(galaxies.path, light.device)
    p = {
        name: lens[name][which].to(light.dtype)[:, None, None]
        for name in (
            "source_x",
            "source_y",
            "effective_radius",
            "galaxy_angle",
            "galaxy_parity",
            "galaxy_amplitude",
        )
    }
    cos, sin = torch.cos(p["galaxy_angle"]), torch.sin(p["galaxy_angle"])
    size = EXTENT * p["effective_radius"]
    dx, dy = (x[which] - p["source_x"]) / size, (y[which] - p["source_y"]) / size
    grid = torch.stack(
        [dx * cos + dy * sin, (dy * cos - dx * sin) * p["galaxy_parity"]], -1
    )
    chosen = textures[lens["galaxy_image"][which].long().clamp_min(0), None]
    brightness = F.grid_sample(chosen.to(light.dtype), grid, align_corners=False)[:, 0]
    factor = p["galaxy_amplitude"] * real[which, None, None]
    return light.index_add_(0, which, brightness.mul_(factor))
