"""A plain subtraction of the lens galaxy: two Sersic ellipses and the sky.

Both ellipses share their centre and are blurred by a Gaussian of 0.1 arcsec (FWHM).
They are fitted by least squares outside a mask of arcs and neighbours, which is made
anew after each fit: pixels that stand out by three times the noise, and those next to
them. The central quarter arcsec, which no such fit gets right without the point-spread
function, is then filled with the median of what is left around it.

What it leaves: some of the galaxy's light between a quarter and half an arcsec; twists
and lopsidedness of isophotes; and, where a ring goes all around the lens, too high or
too low a level within it.

`gaussian_expansion.py` leaves less. This one stays because the figures of
docs/real-lenses.md are of this fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter
from scipy.optimize import least_squares

Image = NDArray[np.float64]

_BLUR = 0.1 / 2.355 / 0.05  # pixels
_STEPS = (20, 10)  # at most, of each fit
_CORE = 5.0  # pixels around the centre that no fit of this kind gets right
# Logarithms of the two radii (pixels), indices, axis ratio, angle, centre.
_LOW = np.array([0.0, 1.5, 0.5, 0.5, 0.3, -4.0, -4.0, -4.0])
_HIGH = np.array([3.0, 5.0, 6.0, 6.0, 1.0, 4.0, 4.0, 4.0])
_START = np.array([1.5, 3.0, 2.0, 2.0, 0.8, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class Subtraction:
    """An image without its lens galaxy.

    Attributes:
        pixels: (H, W), the sky subtracted, too.
        masked: Share of the pixels that were left out of the last fit.
        left: Root mean square of what is left between 0.25 and 0.5 arcsec, over the
            galaxy's mean brightness there.
    """

    pixels: Image
    masked: float
    left: float


def sky_noise(image: Image) -> float:
    """Standard deviation of a pixel's noise at the edge, by differences of neighbours.

    Correlated noise, as in drizzled images, is underestimated.
    """
    width = max(4, len(image) // 12)
    strips = (image[:width], image[-width:], image[:, :width].T, image[:, -width:].T)
    steps = np.concatenate([np.diff(strip, axis=1).ravel() for strip in strips])
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def subtracted(image: Image) -> Subtraction:
    """Fits and subtracts.

    Args:
        image: (H, W) with the galaxy within four pixels of the centre.
    """
    image = np.asarray(image, float)
    noise = sky_noise(image)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    y, x = y - (image.shape[0] - 1) / 2, x - (image.shape[1] - 1) / 2
    used = np.ones(image.shape, bool)
    smooth = np.where(np.hypot(x, y) < 4, gaussian_filter(image, 1), -np.inf)
    brightest = np.argmax(smooth)
    shape = _START.copy()
    shape[5:] = 0.0, x.flat[brightest], y.flat[brightest]
    shape = np.clip(shape, _LOW + 0.01, _HIGH - 0.01)
    for steps in _STEPS:
        # Brightness varies by orders of magnitude: each pixel by what it tells.
        error = np.sqrt(noise**2 + (0.03 * np.clip(image, 0, None)) ** 2)
        weight = used / error
        shape = least_squares(
            lambda p, w=weight: _linear(p, image, w, x, y)[1],
            shape,
            bounds=(_LOW, _HIGH),
            loss="soft_l1",
            max_nfev=steps,
        ).x
        model = _linear(shape, image, weight, x, y)[0]
        rest = image - model
        high = gaussian_filter(rest, 1) > 3 * gaussian_filter(error, 1) / 2
        high = binary_opening(high) & (np.hypot(x, y) > _CORE)
        used = ~binary_dilation(high, iterations=2)
    radius = np.hypot(x - shape[6], y - shape[7])
    core, near = radius < _CORE, (radius >= _CORE) & (radius < 10)
    rest = np.where(core, np.median(rest[(radius < 1.6 * _CORE) & ~core]), rest)
    sky = float(model[[0, -1]].mean())
    left = np.sqrt(np.mean(rest[near] ** 2)) / np.mean(model[near] - sky)
    return Subtraction(rest, float(1 - used.mean()), float(left))


def _linear(
    shape: Image, image: Image, weight: Image, x: Image, y: Image
) -> tuple[Image, Image]:
    """The best model of a shape, without negative light, and weighted residuals."""
    radii, indices, q, angle, x0, y0 = shape[:2], shape[2:4], *shape[4:]
    c, s = np.cos(angle), np.sin(angle)
    u, v = c * (x - x0) + s * (y - y0), c * (y - y0) - s * (x - x0)
    # The middle of a pixel is not its mean where a profile is steep.
    r = np.sqrt(q * u**2 + v**2 / q + 0.1)
    parts = []
    for radius, index in zip(np.exp(radii), indices, strict=True):
        b = 2 * index - 1 / 3 + 0.009876 / index  # Prugniel & Simien 1997
        profile = np.exp(-b * ((r / radius) ** (1 / index) - 1))
        parts.append(gaussian_filter(profile, _BLUR, mode="nearest"))
    parts.append(np.ones_like(image))
    rows = np.stack([(part * weight).ravel() for part in parts])
    wanted = (image * weight).ravel()
    square, right = rows @ rows.T, rows @ wanted
    amplitudes = np.linalg.lstsq(square, right, rcond=1e-12)[0]
    for i in (0, 1):
        if amplitudes[i] < 0:
            keep = np.array([1 - i, 2])
            amplitudes = np.zeros(3)
            kept = square[keep[:, None], keep]
            amplitudes[keep] = np.linalg.lstsq(kept, right[keep], rcond=1e-12)[0]
            break
    model = sum(a * part for a, part in zip(amplitudes, parts, strict=True))
    return model, amplitudes @ rows - wanted
