"""The light of a lens galaxy, fitted beside the arcs and taken away.

A multi-Gaussian expansion (Emsellem, Monnet & Bacon 1994; Cappellari 2002): concentric
elliptical Gaussians of many widths, whose amplitudes may not be negative, and a sky. It
is fitted to the pixels within and without an annulus that holds the arcs, and smooth
enough to be believed in between.

`lens_light.py` is a plainer fit. Both stay: the figures of docs/real-lenses.md are of
that one, and the protocol of docs/known-lens.md was fixed with this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

PSF = 0.045  # arcsec: width of the Gaussian that stands for the point-spread function
WIDTHS = np.geomspace(0.03, 8.0, 18)  # arcsec
OUTSIDE = 1500  # pixels beyond the core that are fitted
CORE = 0.5  # arcsec
SEED = 5


@dataclass(frozen=True)
class Treatment:
    """How lens light is fitted.

    Attributes:
        name: For tables.
        inner: Where the annulus of the arcs begins. *Unit*: arcsec.
        outer: Where it ends.
        clipped: Whether pixels in the annulus that the fit explains are fitted in a
            second round, and pixels outside that are brighter than it left out.
        groups: Axis ratios: one for all Gaussians, or one for the inner and one for the
            outer ones.
    """

    name: str
    inner: float
    outer: float
    clipped: bool
    groups: int


TREATMENTS = (
    Treatment("annulus masked", 0.8, 2.2, False, 1),
    Treatment("annulus clipped", 0.8, 2.2, True, 1),
    Treatment("two axis ratios", 0.7, 2.4, False, 2),
)


def subtracted(
    image: Array, scale: float, treatment: Treatment, hidden: Mask | None = None
) -> Array:
    """An image less the light of the galaxy in its middle, and less its sky.

    Args:
        image: (H, W), the galaxy within a few pixels of the centre.
        scale: *Unit*: arcsec/pixel.
        treatment: How.
        hidden: (H, W) True where other objects are.
    """
    rows, columns = np.indices(image.shape)
    x = (columns - (image.shape[1] - 1) / 2) * scale
    y = (rows - (image.shape[0] - 1) / 2) * scale
    radius = np.hypot(x, y)
    usable = np.isfinite(image)
    if hidden is not None:
        usable = usable & ~hidden
    fitted = usable & ((radius < treatment.inner) | (radius > treatment.outer))
    for _ in range(2 if treatment.clipped else 1):
        model = _fit(image, x, y, fitted, treatment.groups)
        left = image - model
        noise = 1.4826 * np.median(np.abs(left[usable & (radius > treatment.outer)]))
        # The core is never smooth enough, and never has an arc.
        fitted = usable & ((left < 2.5 * noise) | (radius < CORE))
    return left


def _fit(image: Array, x: Array, y: Array, fitted: Mask, groups: int) -> Array:
    """The model of the galaxy and the sky that fits these pixels best."""
    rng = np.random.default_rng(SEED)
    inside = fitted & (np.hypot(x, y) < CORE)
    outside = np.flatnonzero(fitted & ~inside)
    enough = min(len(outside), OUTSIDE)
    chosen = rng.choice(outside, enough, replace=False)
    some = np.concatenate([np.flatnonzero(inside), chosen])
    values, xs, ys = (a.ravel()[some] for a in (image, x, y))
    # Photon noise of the galaxy beside that of the sky; each kept pixel outside stands
    # for all of them.
    sky = np.median(image[fitted & (np.hypot(x, y) > 2.2)])
    spread = 1.4826 * np.median(np.abs(image[fitted] - sky))
    weight = 1 / np.sqrt(spread**2 + spread * np.abs(values - sky))
    weight[inside.sum() :] *= np.sqrt(len(outside) / enough)

    def amplitudes(shape: Array) -> tuple[Array, float]:
        design = _design(xs, ys, shape, groups) * weight[:, None]
        found, rest = nnls(design, values * weight, maxiter=2000)
        return found, float(rest)

    start = np.array([0.0, 0.0, 0.0, *([0.8] * groups)])
    steps = np.vstack(
        [start, *(start + d for d in np.diag([0.02, 0.02, 0.5, *[-0.1] * groups]))]
    )
    best = minimize(
        lambda shape: amplitudes(shape)[1],
        start,
        method="Nelder-Mead",
        options={"initial_simplex": steps, "maxfev": 70, "xatol": 1e-3, "fatol": 1e-3},
    ).x
    model: Array = _design(x.ravel(), y.ravel(), best, groups) @ amplitudes(best)[0]
    return model.reshape(image.shape)


def _design(x: Array, y: Array, shape: Array, groups: int) -> Array:
    """The Gaussians and the sky of either sign, a column each.

    Args:
        x: (P,) *Unit*: arcsec.
        y: (P,) likewise.
        shape: Centre, position angle (*unit*: radians), axis ratios.
        groups: How many of these.
    """
    dx, dy = x - shape[0], y - shape[1]
    along = np.cos(shape[2]) * dx + np.sin(shape[2]) * dy
    across = np.cos(shape[2]) * dy - np.sin(shape[2]) * dx
    ratios = np.clip(shape[3:], 0.3, 1.0)
    of = ratios[(np.arange(len(WIDTHS)) * groups) // len(WIDTHS)]
    wide, narrow = WIDTHS**2 + PSF**2, (WIDTHS * of) ** 2 + PSF**2
    exponent = along[:, None] ** 2 / wide + across[:, None] ** 2 / narrow
    columns = np.exp(-exponent / 2) / np.sqrt(wide * narrow)
    ones = np.ones((len(x), 1))
    return np.hstack([columns, ones, -ones])
