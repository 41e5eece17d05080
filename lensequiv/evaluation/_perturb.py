"""How a weight fares when one thing at a time differs from its training images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from lensequiv._devices import resolve_device
from lensequiv.evaluation._changes import OF_IMAGES, WITHIN, perturbations
from lensequiv.evaluation._evaluate import used_versions, weights_facts
from lensequiv.evaluation._metrics import roc_auc

if TYPE_CHECKING:
    from lensequiv.inference._options import Precision
    from lensequiv.models import LensNetwork
    from lensequiv.simulation import Recipe

__all__ = ["Perturbations", "Perturbed", "perturb"]


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

    @property
    def within(self) -> bool:
        """Whether it lies within the ranges of `modelF-varied` and `modelJ-varied`."""
        return self.change in WITHIN


@dataclass(frozen=True)
class Perturbations(Sequence[Perturbed]):
    """What `perturb` found, and of what: a sequence of `Perturbed`.

    Attributes:
        rows: Scores, in the order of the changes.
        weights: See `ModelEvaluation.weights`.
        recipe: Name of the recipe that was changed.
        seed: Of the lenses.
        precision: Of the convolutions.
        versions: Of lensequiv, torch, numpy and Python.
        date: When, ISO 8601 in UTC.
    """

    rows: tuple[Perturbed, ...]
    weights: dict[str, Any]
    recipe: str
    seed: int
    precision: str
    versions: dict[str, str]
    date: str

    @overload
    def __getitem__(self, index: int) -> Perturbed: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Perturbed]: ...

    def __getitem__(self, index: int | slice) -> Perturbed | Sequence[Perturbed]:
        """The scores under one change, or under some."""
        return self.rows[index]

    def __len__(self) -> int:
        """The number of changes."""
        return len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-able; numbers are not rounded."""
        found = asdict(self)
        rows = [asdict(row) | {"within": row.within} for row in self.rows]
        return {**found, "rows": rows}


def perturb(
    model: LensNetwork,
    recipe: str | Recipe,
    *,
    n: int = 600,
    seed: int = 0,
    batch_size: int = 64,
    changes: Sequence[str] | None = None,
    precision: Precision = "fp32",
    device: str | torch.device | None = None,
    name: str | None = None,
    progress: bool = False,
) -> Perturbations:
    """Scores a weight on lenses in which one thing at a time differs.

    With one seed all changes are made to the same lenses, so that small differences
    mean something. Two changes are made to the images themselves: a shift by three
    pixels, and a rotation of the sky by 37 degrees (rendered, not interpolated).

    Args:
        model: With classes in the recipe's order; its mode is kept.
        recipe: What it was trained on, or another with these classes; see
            `perturbations`.
        n: Images for each change, over all classes.
        seed: Of the lenses; a weight's training seeds are in its card.
        batch_size: Images that the network sees at a time.
        changes: Names of the changes to make; all if None.
        precision: See `lensequiv.predict`.
        device: Where to render and to classify, see `lensequiv.predict`; where the
            model is if None. Noise has another random stream on each kind of device.
        name: What reports shall call the weights.
        progress: Whether to show a progress bar.

    Returns:
        Scores, in the order of the changes, and what they belong to.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: The recipe's classes are not the model's, a change is unknown, an
            argument is out of range, or there are fewer images than classes.
    """
    from tqdm.auto import tqdm

    from lensequiv.simulation import get_recipe, recorded_name

    home = next(model.parameters()).device
    where, rows = resolve_device(home if device is None else device), []
    recipe = get_recipe(recipe)
    check_classes(model, recipe)
    changed = perturbations(recipe)
    known = [*changed, *OF_IMAGES]
    chosen = known if changes is None else list(changes)
    for change in chosen:
        if change not in known:
            raise ValueError(f"unknown change {change!r}; known are {'; '.join(known)}")
    if n < len(recipe.classes):
        raise ValueError(
            f"n={n}: expected at least {len(recipe.classes)}, one image of each class"
        )
    for change in tqdm(chosen, unit="change", disable=not progress):
        images, labels = lenses_with(changed, change, n, seed, where)
        found = answers(model, images, batch_size, precision, where)
        rows.append(scores_of(change, *found, labels, recipe.classes))
    return Perturbations(
        rows=tuple(rows),
        weights=weights_facts(model, name),
        recipe=recorded_name(recipe.describe()),
        seed=seed,
        precision=precision,
        versions=used_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def check_classes(model: LensNetwork, recipe: Recipe) -> None:
    """Requires a recipe with the classes of a model.

    Raises:
        ValueError: It has others, or in another order.
    """
    if tuple(model.classes or ()) != recipe.classes:
        raise ValueError(
            f"recipe {recipe.name!r} has classes {', '.join(recipe.classes)}; the "
            f"model's are {', '.join(model.classes or ())}"
        )


def lenses_with(
    changed: dict[str, Recipe], change: str, n: int, seed: int, device: torch.device
) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Lenses with one change: (n, pixels, pixels) images on the device, (n,) labels.

    Args:
        changed: What `perturbations` returned.
        change: One of these, or one that is made to the images.
        n: How many lenses, over all classes.
        seed: Of the lenses.
        device: Where to render; MPS lacks what it takes, and the CPU stands in.
    """
    from lensequiv.simulation import simulate

    shifted, turned = (change == of_images for of_images in OF_IMAGES)
    lenses = simulate(
        changed["none" if shifted or turned else change],
        n,
        seed=seed,
        rotation=37.0 if turned else 0.0,
        device="cpu" if device.type == "mps" else device,
    )
    images = torch.roll(lenses.images, (3, -3), (1, 2)) if shifted else lenses.images
    return images, lenses.labels.cpu().numpy()


def answers(
    model: LensNetwork,
    images: torch.Tensor,
    batch_size: int,
    precision: Precision,
    device: torch.device,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities (n, classes), and which of the images were flagged, (n,)."""
    from lensequiv.domain import OutOfDomainWarning

    with warnings.catch_warnings():
        # What is unlike the training images is counted here.
        warnings.simplefilter("ignore", OutOfDomainWarning)
        result = model.predict(
            images, batch_size=batch_size, precision=precision, device=device
        )
    return result.probabilities.double().numpy(), result.unlike_training.numpy()


def scores_of(
    change: str,
    probabilities: NDArray[np.float64],
    flagged: NDArray[np.bool_],
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> Perturbed:
    """Scores of the answers under one change."""
    given = probabilities.argmax(1)
    truth = np.eye(len(classes), dtype=bool)[labels]
    shares = np.bincount(given, minlength=len(classes)) / len(given)
    return Perturbed(
        change=change,
        images=len(labels),
        accuracy=float((given == labels).mean()),
        auc=roc_auc(probabilities.ravel(), truth.ravel()),
        flagged=float(flagged.mean()),
        answers=dict(zip(classes, shares.tolist(), strict=True)),
    )
