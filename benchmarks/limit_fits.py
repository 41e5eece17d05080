"""Looking for subhalos by fitting single images, for `detection_limit.py`.

What a lens modeller can do without a network: the best smooth lens, then one point mass
and another, each put where it lowers chi^2 most and fitted with the lens. Nothing of
the truth is used but the source's shape and the point-spread function, which all lenses
of Model J share.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from lens_fit import Problem

EDGES = (0.0, 7.0, 10.0, 15.0, 20.0)  # signal-to-noise ratios, for equal numbers
MASSES = 2  # at most
SPACING, REACH, NEAR = 0.2, 2.2, 0.8  # arcsec: places that are tried, near the ring


def chosen(label: np.ndarray, snr: np.ndarray, number: int) -> list[tuple[int, int]]:
    """Which lenses to fit: smooth ones, and faint lenses of `sphere`.

    Args:
        label: (N,) of lenses, in the order in which they were simulated.
        snr: (N,) signal-to-noise ratios.
        number: How many smooth lenses; as many of `sphere` at most, an equal part
            between neighbours of `EDGES`.

    Returns:
        Label and index within the class.
    """
    smooth = [(0, index) for index in range(min(number, int((label == 0).sum())))]
    spheres = snr[label == 1]
    each = number // (len(EDGES) - 1)
    faint = [
        (1, int(index))
        for low, high in pairwise(EDGES)
        for index in np.flatnonzero((spheres >= low) & (spheres < high))[:each]
    ]
    pairs = zip(smooth, faint, strict=False)
    return [one for both in pairs for one in both] + smooth[len(faint) :]


def gains(image: np.ndarray, masses: int = MASSES) -> dict[str, np.ndarray]:
    """How much point masses lower chi^2, one after the other.

    Args:
        image: (150, 150) counts of Model J.
        masses: Their number.

    Returns:
        `smooth`, chi^2 of the smooth lens, `gain`, (masses,) by each further mass, and
        `places`, (masses, 2) in arcsec from the centre, of each when it was added.
    """
    axis = torch.arange(-REACH, REACH + 1e-9, SPACING, dtype=torch.float64)
    x, y = (part.ravel() for part in torch.meshgrid(axis, axis, indexing="xy"))
    problem = Problem(image, "sphere")
    fit = smooth = problem.as_recipe(problem.smooth())
    from_ring = torch.hypot(x, y) - smooth.vector[0].exp()
    grid = torch.stack([x, y, torch.full_like(x, 1e-3)], 1)[from_ring.abs() < NEAR]
    found, places = [], []
    for _ in range(masses):
        gain, theta2 = problem.candidates(fit, grid, 2)
        best = int(gain.argmax())
        mass = theta2[best : best + 1].clamp(2e-4, 0.02)
        tried = problem.descend(
            torch.cat([fit.vector, torch.cat([grid[best, :2], mass])]), 8
        )
        found.append(max(fit.chi2 - tried.chi2, 0.0))
        places.append(tried.vector[-3:-1].numpy())
        fit = tried if tried.chi2 < fit.chi2 else fit
    return {
        "smooth": np.array(smooth.chi2),
        "gain": np.array(found),
        "places": np.array(places),
    }
