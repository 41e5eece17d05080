"""How a weight fares when one thing at a time differs from its training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lensequiv._devices import resolve_device
from lensequiv.evaluation._metrics import roc_auc

if TYPE_CHECKING:
    from lensequiv.models import LensModel
    from lensequiv.simulation import Recipe

__all__ = ["Perturbed", "perturb", "perturbations"]


@dataclass(frozen=True)
class Perturbed:
    """Scores under one change.

    Attributes:
        change: What was changed.
        images: How many lenses were simulated.
        accuracy: Share of right answers.
        auc: Micro-average area under the ROC curve.
        flagged: Share of images said to be unlike the training images.
        answers: Share of each class among the answers, by name.
    """

    change: str
    images: int
    accuracy: float
    auc: float
    flagged: float
    answers: dict[str, float]


def _scaled(name: str, factor: float) -> Callable[[Recipe], Recipe]:
    """Multiplies one number of a recipe that all its lenses share."""

    def change(recipe: Recipe) -> Recipe:
        low, high = recipe.spread.get(name, (1.0, 1.0))
        spread = {**recipe.spread, name: (low * factor, high * factor)}
        return replace(recipe, spread=spread)

    return change


def _noise(factor: float) -> Callable[[Recipe], Recipe]:
    """Photon noise times a factor, relative to the light: another exposure time."""

    def change(recipe: Recipe) -> Recipe:
        recipe = _scaled("amplitude", factor**-2)(recipe)
        return _scaled("sky", factor**-2)(recipe)

    return change


def perturbations(recipe: Recipe) -> dict[str, Recipe]:
    """Single changes of a recipe, by name; the first is none.

    The changes are those that a real telescope or another simulation would bring:
    point-spread function, pixel scale, noise, Einstein radius, source, ellipticity,
    direction of the shear, light of the lens.

    Args:
        recipe: One of the study's: Poisson noise on a sky that stays in the image.

    Returns:
        Recipes with the same classes and pixels.

    Raises:
        ValueError: The recipe has another kind of noise.
    """
    from lensequiv.simulation import LensLight, PoissonSky, PowerLaw

    if not isinstance(recipe.noise, PoissonSky):
        raise ValueError(
            f"recipe {recipe.name!r} has {type(recipe.noise).__name__}; expected one "
            "with PoissonSky, such as modelF or modelJ"
        )
    single: dict[str, Callable[[Recipe], Recipe]] = {"none": lambda same: same}
    for name, key, factors in (
        ("PSF width", "psf_sigma", (0.75, 1.25, 1.5)),
        ("pixel scale", "pixel_scale", (0.9, 0.95, 1.05, 1.1)),
        ("source radius", "effective_radius", (0.7, 1.4)),
        ("source index", "sersic_index", (0.5, 2.0)),
    ):
        for factor in factors:
            single[f"{name} x {factor}"] = _scaled(key, factor)
    for factor in (0.5, 2.0):
        single[f"noise x {factor}"] = _noise(factor)
    for factor in (0.8, 0.9, 1.1, 1.2):
        # The Einstein radius goes with the root of the mass.
        single[f"ring x {factor}"] = _scaled("total_mass", factor**2)
    single["halo of axis ratio 0.7"] = lambda recipe: replace(
        recipe, deflector=PowerLaw(axis_ratio=(0.7, 0.7))
    )
    single["shear at any angle"] = lambda recipe: replace(
        recipe, shear_angle=(0.0, 180.0)
    )
    single["lens light"] = lambda recipe: replace(
        recipe, lights=(LensLight(share=1.0, ratio=(0.3, 3.0), subtracted=0.0),)
    )
    single["lens light, subtracted"] = lambda recipe: replace(
        recipe, lights=(LensLight(share=1.0, ratio=(0.3, 3.0), subtracted=1.0),)
    )
    return {name: change(recipe) for name, change in single.items()}


def perturb(
    model: LensModel,
    recipe: str | Recipe,
    *,
    n: int = 600,
    seed: int = 0,
    batch_size: int = 64,
    changes: Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> list[Perturbed]:
    """Scores a weight on lenses in which one thing at a time differs.

    With one seed all changes are made to the same lenses, so that small differences
    mean something. Two changes are made to the images themselves: a shift by three
    pixels, and a rotation of the sky by 37 degrees (rendered, not interpolated).

    Args:
        model: With classes in the recipe's order.
        recipe: What it was trained on; see `perturbations`.
        n: Images for each change, over all classes.
        seed: Of the lenses; a weight's training seeds are in its card.
        batch_size: Images that the network sees at a time.
        changes: Names of the changes to make; all if None.
        device: Where the network computes; see `lensequiv.predict`.

    Returns:
        Scores, in the order of the changes.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: The recipe's classes are not the model's, or a change is unknown.
    """
    from lensequiv.simulation import get_recipe

    if device is not None:
        device = resolve_device(device)  # before lenses are simulated
    recipe = get_recipe(recipe)
    if tuple(model.classes or ()) != recipe.classes:
        raise ValueError(
            f"recipe {recipe.name!r} has classes {', '.join(recipe.classes)}; the "
            f"model's are {', '.join(model.classes or ())}"
        )
    known = [*perturbations(recipe), *_OF_IMAGES]
    chosen = known if changes is None else list(changes)
    for name in chosen:
        if name not in known:
            raise ValueError(f"unknown change {name!r}; known are {'; '.join(known)}")
    return [
        _scored(model, name, images, labels, batch_size, device)
        for name, images, labels in _simulated(recipe, chosen, n, seed)
    ]


_OF_IMAGES = ("shift by 3 pixels", "rotation by 37 degrees")


def _simulated(
    recipe: Recipe, chosen: Sequence[str], n: int, seed: int
) -> Iterator[tuple[str, torch.Tensor, NDArray[np.int64]]]:
    """Images and labels of each change."""
    from lensequiv.simulation import simulate

    changed = perturbations(recipe)
    for name in chosen:
        shifted, turned = (name == of_images for of_images in _OF_IMAGES)
        rotation = 37.0 if turned else 0.0
        lenses = simulate(changed.get(name, recipe), n, seed=seed, rotation=rotation)
        images = lenses.images
        if shifted:
            images = torch.roll(images, (3, -3), (1, 2))
        yield name, images, lenses.labels.numpy()


def _scored(
    model: LensModel,
    change: str,
    images: torch.Tensor,
    labels: NDArray[np.int64],
    batch_size: int,
    device: str | torch.device | None,
) -> Perturbed:
    """Scores of one change."""
    import warnings

    from lensequiv.domain import OutOfDomainWarning

    with warnings.catch_warnings():
        # What is unlike the training images is counted here.
        warnings.simplefilter("ignore", OutOfDomainWarning)
        result = model.predict(images, batch_size=batch_size, device=device)
    probabilities = result.probabilities.double().numpy()
    answers = probabilities.argmax(1)
    truth = np.eye(probabilities.shape[1], dtype=bool)[labels]
    shares = np.bincount(answers, minlength=truth.shape[1]) / len(answers)
    return Perturbed(
        change=change,
        images=len(labels),
        accuracy=float((answers == labels).mean()),
        auc=roc_auc(probabilities.ravel(), truth.ravel()),
        flagged=float(result.unlike_training.float().mean()),
        answers=dict(zip(model.classes or (), shares.tolist(), strict=True)),
    )
