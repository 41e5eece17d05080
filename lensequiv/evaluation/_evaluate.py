"""A model on a labelled data set, as it is and rotated."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.data import ClassFolder, HDF5Images, open_dataset
from lensequiv.evaluation._manifest import manifest_facts, remarks, same_recipe_card
from lensequiv.evaluation._score import Evaluation, score
from lensequiv.models import LensModel
from lensequiv.prediction import PathLike, Source, batches
from lensequiv.pretrained._saving import packed
from lensequiv.transforms._augment import RandomPose, resample

__all__ = ["ModelEvaluation", "evaluate"]

_PART = 500  # images whose angles are drawn together, as examples/train.py does


@dataclass(frozen=True)
class ModelEvaluation:
    """What `evaluate` found, and of what.

    Attributes:
        as_is: Scores of the images as they are.
        rotated: Scores of the images turned at random, or None.
        weights: `name`, `model` (architecture), `sha256` of the weights as
            `save_pretrained` writes them, and the `recipe` they were trained on.
        data: `path`, number of `images` and `images_per_class`; how many look `unlike`
            the training images (as `predict` warns), None where their statistics are
            not known; and the manifest's `recipe`, `seed`, `images` and `versions`
            under `manifest`, None where there is none.
        settings: `seed`, `precision`, `resamples` and `limit` of the call.
        card: What the weight's card says about its own test set, if that has the same
            recipe, else None: `test`, `test_rotated`, `seed` and `images`.
        remarks: What to know before these scores are used, one sentence each.
        versions: Of lensequiv, torch, numpy and Python.
        date: When, ISO 8601 in UTC.
    """

    as_is: Evaluation
    rotated: Evaluation | None
    weights: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    card: Mapping[str, Any] | None
    remarks: tuple[str, ...]
    versions: Mapping[str, str]
    date: str

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        return {
            "weights": dict(self.weights),
            "data": dict(self.data),
            "settings": dict(self.settings),
            "remarks": list(self.remarks),
            "card": None if self.card is None else dict(self.card),
            "as_is": self.as_is.to_dict(),
            "rotated": self.rotated.to_dict() if self.rotated else None,
            "versions": dict(self.versions),
            "date": self.date,
        }


def evaluate(
    model: LensModel,
    data: PathLike | ClassFolder | HDF5Images,
    *,
    rotated: bool = True,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    resamples: int = 1000,
    name: str | None = None,
    progress: bool = False,
) -> ModelEvaluation:
    """Scores a model on a labelled data set, as it is and rotated.

    Probabilities are `predict`'s: of the logits over the model's temperature. Images go
    through the plain form of the network, batch by batch; memory does not grow with
    their number, but for the logits. Rotated images are what `examples/train.py` scores
    for a weight's card: each turned about its centre by an angle drawn from all
    (bilinear interpolation) and, half the time, mirrored, by `RandomPose(size,
    shift=0, rotate=1.0)` after `torch.manual_seed(seed)`, over 500 images at a time.
    Torch's global generator is left as it was.

    Args:
        model: Any lensequiv model; its mode is kept.
        data: A folder of class folders, an HDF5 file (see
            `lensequiv.data.open_dataset`), or one of these opened, without transform.
            Its classes are matched to the model's by name, in any order.
        rotated: Whether to score rotated images, too.
        seed: Of the angles and of the bootstrap.
        limit: Take this many images at most, the first of each class in equal parts.
        batch_size: Images that go through the network at once.
        workers: See `lensequiv.predict`.
        precision: See `lensequiv.predict`.
        resamples: Of the bootstrap; 0 for no intervals.
        name: What reports shall call the weights.
        progress: Whether to show a progress bar once it takes two seconds.

    Returns:
        The scores and what they belong to.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: An image cannot be read or is not usable, or the path is no data
            set.
        ValueError: The classes are not the model's, `data` has a transform, an image
            does not fit the model, or an argument is out of range.
    """
    dataset = _opened(data)
    where = dataset.root if isinstance(dataset, ClassFolder) else dataset.path
    if dataset.transform is not None:
        raise ValueError(
            f"{where} was opened with a transform; expected none, since the model's "
            "own preprocessing is applied"
        )
    labels = _labels_for(model, dataset, str(where))
    positions = _first_of_each(labels, limit)
    labels = labels[positions]
    names = [_name(dataset, i) for i in positions.tolist()]
    options = (batch_size, 0, progress, workers, precision, "raise")

    def run(change: Callable[[int, Tensor], Tensor] | None) -> tuple[Tensor, int]:
        """Logits, and how many images are unlike the training images."""

        def read(i: int) -> Tensor:
            image, _ = dataset[int(positions[i])]
            return image if change is None else change(i, image)

        with torch.random.fork_rng(devices=[]):  # building the plain form draws
            parts = list(batches(model, Source(names, read, None), *options))
        unlike = sum(bool(note) for part in parts for note in part.notes)
        return torch.cat([part.logits for part in parts]), unlike

    def scored(logits: Tensor) -> Evaluation:
        return score(
            labels,
            logits=(logits / model.temperature).numpy(),
            classes=model.classes,
            resamples=resamples,
            seed=seed,
        )

    logits, unlike = run(None)
    as_is = scored(logits)
    info = model.weights_info
    manifest = manifest_facts(dataset)
    return ModelEvaluation(
        as_is=as_is,
        rotated=scored(run(_turns(model, len(names), seed))[0]) if rotated else None,
        weights={
            "name": name,
            "model": model.name,
            "sha256": hashlib.sha256(packed(model)).hexdigest(),
            "recipe": info.get("trained_on", {}).get("recipe"),
        },
        data={
            "path": str(where),
            "images": len(names),
            "images_per_class": dict(
                zip(model.classes, np.bincount(labels).tolist(), strict=True)
            ),
            "unlike": unlike if info.get("image_statistics") else None,
            "manifest": manifest,
        },
        settings={
            "seed": seed,
            "precision": precision,
            "resamples": resamples,
            "limit": limit,
        },
        card=same_recipe_card(info, manifest),
        remarks=remarks(info, manifest, len(names)),
        versions=_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _opened(
    data: PathLike | ClassFolder | HDF5Images,
) -> ClassFolder | HDF5Images:
    return data if isinstance(data, ClassFolder | HDF5Images) else open_dataset(data)


def _labels_for(
    model: LensModel, dataset: ClassFolder | HDF5Images, where: str
) -> NDArray[np.int64]:
    """The data set's labels in the order of the model's classes, (N,)."""
    if set(dataset.classes) != set(model.classes):
        raise ValueError(
            f"{where} has the classes {list(dataset.classes)}, but {model.name} has "
            f"{list(model.classes)}; expected the same names"
        )
    order = np.array([model.classes.index(c) for c in dataset.classes])
    labels: NDArray[np.int64] = order[dataset.labels.numpy()]
    return labels


def _first_of_each(labels: NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """Positions of at most `limit` images: the first of each class in equal parts."""
    classes = int(labels.max()) + 1
    if limit is None:
        return np.arange(len(labels))
    if limit < classes:
        raise ValueError(f"limit={limit}: expected at least one image a class")
    place = np.empty(len(labels), np.int64)  # within the class
    for c in range(classes):
        members = np.flatnonzero(labels == c)
        place[members] = np.arange(len(members))
    return np.sort(np.lexsort((labels, place))[:limit])


def _name(dataset: ClassFolder | HDF5Images, i: int) -> str:
    if isinstance(dataset, ClassFolder):
        return str(dataset.paths[i])
    return f"{dataset.path} images[{int(dataset.rows[i])}]"


def _turns(model: LensModel, n: int, seed: int) -> Callable[[int, Tensor], Tensor]:
    """What turns image i, with the poses drawn ahead in parts."""
    pose = RandomPose(129, shift=0, rotate=1.0)  # its size plays no part in drawing
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        drawn = [pose.draw(min(_PART, n - start)) for start in range(0, n, _PART)]

    def turn(i: int, image: Tensor) -> Tensor:
        angle, flips, shifts = drawn[i // _PART]
        k = slice(i % _PART, i % _PART + 1)
        # Smaller images keep their size; a side is odd, so that the centre is a pixel.
        side = min(model.input_size, *image.shape[-2:])
        side -= 1 - side % 2
        return resample(image[None], angle[k], flips[k], shifts[:, k], side)[0]

    return turn


def _versions() -> dict[str, str]:
    import lensequiv

    return {
        "lensequiv": lensequiv.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
