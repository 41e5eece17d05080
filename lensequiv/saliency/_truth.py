"""Where a simulated image betrays its substructure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation import (
    KnownNoise,
    Recipe,
    get_recipe,
    render_lenses,
    without_substructure,
)
from lensequiv.simulation._rerender import Arrays

__all__ = [
    "SubstructureSignal",
    "fit_smooth",
    "substructure_signal",
    "turn_substructure",
]

# Einstein radius, both components of the shear, source x and y.
_FREE = 5
_STEP = 1e-3  # of the finite differences, in arcsec, and in the shear


@dataclass(frozen=True)
class SubstructureSignal:
    """What substructure changes in noise-free images.

    Attributes:
        image: (N, pixels, pixels) float32 expected images, in the recipe's unit.
        smooth: (N, pixels, pixels) float32, those of the smooth lenses that resemble
            them most.
        snr: (N, pixels, pixels) float32: image - smooth, the difference, in units of
            the noise that the recipe would add (light, sky, read-out).
        ring: (N, pixels, pixels) bool: where the smooth lens, less sky, has a tenth of
            its peak at least.
    """

    image: Tensor
    smooth: Tensor
    snr: Tensor
    ring: Tensor


def substructure_signal(
    recipe: str | Recipe,
    parameters: Arrays,
    *,
    straight: bool = False,
    iterations: int = 3,
) -> SubstructureSignal:
    """Compares lenses with the smooth lenses that come closest; see `fit_smooth`.

    Args:
        recipe: What the lenses were drawn from; its noise is a `KnownNoise`.
        parameters: What `Simulation.parameters` holds, for N lenses.
        straight: See `lensequiv.simulation.render_lenses`.
        iterations: See `fit_smooth`.

    Returns:
        Images without noise, and where they differ.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: The recipe has no noise, or noise that does not tell its variance.
    """
    recipe = get_recipe(recipe)
    image = render_lenses(recipe, parameters, straight=straight)
    smooth = render_lenses(
        recipe, fit_smooth(recipe, parameters, image, iterations=iterations)
    )
    # Where each lens has its own sky, the recipe's is only what it was drawn around.
    light = smooth - _drawn(parameters, "sky", recipe.noise.sky)
    return SubstructureSignal(
        image=image,
        smooth=smooth,
        snr=(image - smooth) / _variance(recipe, image, parameters).sqrt(),
        ring=light >= 0.1 * light.amax((1, 2), keepdim=True),
    )


def fit_smooth(
    recipe: str | Recipe, parameters: Arrays, image: Tensor, *, iterations: int = 3
) -> Arrays:
    """The smooth lens that resembles each image most.

    Starting from `without_substructure`, Gauss-Newton steps in Einstein radius, shear
    (two components) and source position minimise the difference over the noise.
    What these can take up (a larger ring, a shift) is no evidence of substructure. The
    source's light and the lens's centre stay as they are. A step that makes an image's
    fit worse is not taken.

    Args:
        recipe: What the lenses were drawn from.
        parameters: What `Simulation.parameters` holds, for N lenses.
        image: (N, pixels, pixels) expected images, without noise.
        iterations: Number of steps; 0 returns the start.

    Returns:
        Parameters without point masses.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: The recipe has no noise, or noise that does not tell its variance.
    """
    recipe = get_recipe(recipe)
    lens = without_substructure(recipe, parameters)
    weight = _variance(recipe, image, parameters).rsqrt()
    values = _to_vector(lens)

    def residual(vector: NDArray[np.float64]) -> Tensor:
        rendered = render_lenses(recipe, _from_vector(lens, vector))
        return ((image - rendered) * weight).flatten(1).double()

    left = residual(values)
    for _ in range(iterations):
        columns = []
        for k in range(_FREE):
            moved = values.copy()
            moved[:, k] += _STEP
            columns.append((left - residual(moved)) / _STEP)
        slopes = torch.stack(columns, 2)
        normal = slopes.mT @ slopes
        change = torch.linalg.solve(normal, slopes.mT @ left[..., None])[..., 0]
        trial = values + change.numpy()
        after = residual(trial)
        better = after.square().sum(1) < left.square().sum(1)
        values = np.where(better.numpy()[:, None], trial, values)
        left = torch.where(better[:, None], after, left)
    return _from_vector(lens, values)


def _variance(recipe: Recipe, image: Tensor, parameters: Arrays) -> Tensor:
    """Of the noise that each pixel would have."""
    if not isinstance(recipe.noise, KnownNoise):
        kind = type(recipe.noise).__name__
        raise ValueError(
            f"recipe {recipe.name!r} has {kind} for noise, of unknown variance: "
            "expected a lensequiv.simulation.KnownNoise, to measure signals against"
        )
    lens = {
        name: torch.from_numpy(values).float()
        for name, values in parameters.items()
        if values.ndim == 1
    }
    return recipe.noise.variance(image, lens)


def _drawn(parameters: Arrays, name: str, otherwise: float) -> Tensor | float:
    """A number of each lens, (N, 1, 1) float32, or one for all if it is not drawn."""
    if name not in parameters:
        return otherwise
    return torch.from_numpy(parameters[name]).float()[:, None, None]


def turn_substructure(parameters: Arrays, degrees: NDArray[np.float64]) -> Arrays:
    """Turns the point masses about the centre and leaves the lens as it is.

    A control for everything that knows the true positions: the same ring, and masses
    as heavy, as many and as far out, elsewhere.

    Args:
        parameters: What `Simulation.parameters` holds, for N lenses.
        degrees: (N,) anticlockwise.

    Returns:
        A copy.
    """
    angle = np.deg2rad(degrees)[:, None]
    x, y = parameters["mass_x"], parameters["mass_y"]
    return {
        **parameters,
        "mass_x": x * np.cos(angle) - y * np.sin(angle),
        "mass_y": x * np.sin(angle) + y * np.cos(angle),
    }


def _to_vector(lens: Arrays) -> NDArray[np.float64]:
    shear, angle = lens["shear"], 2 * lens["shear_angle"]
    return np.stack(
        [
            lens["theta_e"],
            shear * np.cos(angle),
            shear * np.sin(angle),
            lens["source_x"],
            lens["source_y"],
        ],
        1,
    )


def _from_vector(lens: Arrays, vector: NDArray[np.float64]) -> Arrays:
    theta_e, gamma1, gamma2, x, y = vector.T
    return {
        **lens,
        "theta_e": theta_e,
        "shear": np.hypot(gamma1, gamma2),
        "shear_angle": np.arctan2(gamma2, gamma1) / 2,
        "source_x": x,
        "source_y": y,
    }
