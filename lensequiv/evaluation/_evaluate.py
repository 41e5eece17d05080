"""A model on a labelled data set, as it is and rotated."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lensequiv._checks import check_count
from lensequiv._version import __version__
from lensequiv.data import LabelledImages
from lensequiv.evaluation._labelled import (
    first_of_each,
    labels_for,
    open_labelled,
    source_of_set,
)
from lensequiv.evaluation._manifest import (
    manifest_facts,
    remarks,
    same_recipe_card,
)
from lensequiv.evaluation._score import Evaluation, score
from lensequiv.evaluation._turned import changed, turns
from lensequiv.inference._batches import batches
from lensequiv.inference._options import Options, Precision
from lensequiv.inference._scale import PixelScales
from lensequiv.inference._source import PathLike, Source
from lensequiv.models import LensNetwork
from lensequiv.spec import fingerprint

__all__ = ["ModelEvaluation", "evaluate"]


@dataclass(frozen=True)
class ModelEvaluation:
    """What `evaluate` found, and of what.

    Attributes:
        as_is: Scores of the images as they are.
        rotated: Scores of the images turned at random, or None.
        weights: `name`, `model` (architecture), `sha256` of the weights
            (`lensequiv.spec.fingerprint`), and the `recipe` they were trained on.
        data: `path`, number of `images` and `images_per_class`; how many look `unlike`
            the training images (as `predict` warns), None where nothing is known of
            those; and the manifest's `recipe`, `seed`, `images` and `versions`
            under `manifest`, None where there is none.
        settings: `seed`, `precision`, `resamples`, `limit`, `plane`, `pixel_scale` and
            `resample` of the call.
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
    model: LensNetwork,
    data: PathLike | LabelledImages,
    *,
    rotated: bool = True,
    seed: int = 0,
    limit: int | None = None,
    plane: int | str | None = None,
    hdu: int | str | None = None,
    pixel_scale: float | None = None,
    resample: bool = False,
    batch_size: int = 64,
    workers: int | None = None,
    precision: Precision = "fp32",
    device: str | torch.device | None = None,
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

    A data set may lack some of the model's classes. Its images are scored by the
    model's full probabilities, so that an answer of an absent class is wrong; ROC AUCs
    are those of the present classes.

    Args:
        model: Any lensequiv model; its mode is kept.
        data: A folder of class folders, an HDF5 file (see
            `lensequiv.data.open_dataset`), or one of these opened, without transform.
            Its classes are matched to the model's by name, in any order; two of them
            at least.
        rotated: Whether to score rotated images, too.
        seed: Of the angles and of the bootstrap.
        limit: Take this many images at most, the first of each class in equal parts.
        plane: Which image of each file; see `lensequiv.data.ClassFolder`.
        hdu: The same for FITS files, in their own word.
        pixel_scale: See `lensequiv.predict`. *Unit*: arcsec/pixel. By default what
            the images' headers say, or else the manifest of the set.
        resample: See `lensequiv.predict`.
        batch_size: Images that go through the network at once.
        workers: See `lensequiv.predict`.
        precision: See `lensequiv.predict`.
        device: See `lensequiv.predict`.
        resamples: Of the bootstrap; 0 for no intervals.
        name: What reports shall call the weights.
        progress: Whether to show a progress bar once it takes two seconds.

    Returns:
        The scores and what they belong to.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: An image cannot be read or is not usable, or the path is no data
            set.
        MemoryError: See `lensequiv.predict`.
        ValueError: A class is not one of the model's, `data` has a transform, an image
            does not fit the model, or an argument is out of range.
    """
    check_count("resamples", resamples, low=0)
    options = Options(
        batch_size=batch_size,
        progress=progress,
        workers=workers,
        precision=precision,
        pixel_scale=pixel_scale,
        resample=resample,
        device=device,
        enlarge=False,
    )
    dataset = open_labelled(data, plane, hdu)
    labels = labels_for(model, dataset, str(dataset.place))
    positions = first_of_each(labels, limit)
    labels = labels[positions]
    source = source_of_set(dataset, positions.tolist())
    scales = PixelScales.of(model, pixel_scale, resample, headers=True)

    def scored(logits: Tensor) -> Evaluation:
        return score(
            labels,
            logits=(logits / model.temperature).numpy(),
            classes=model.classes,
            resamples=resamples,
            seed=seed,
            allow_absent=True,
        )

    logits, unlike = _classified(model, source, options)
    as_is, turned = scored(logits), None
    if rotated:
        source = changed(source, scales, turns(model, len(labels), seed))
        options = replace(options, pixel_scale=None, resample=False)
        turned = scored(_classified(model, source, options)[0])
    info, manifest = model.weights_info, manifest_facts(dataset)
    facts = _data_facts(model, dataset, labels, unlike)
    absent = [c for c, n in facts["images_per_class"].items() if not n]
    return ModelEvaluation(
        as_is=as_is,
        rotated=turned,
        weights=weights_facts(model, name),
        data={**facts, "manifest": manifest},
        settings={
            "seed": seed,
            "precision": precision,
            "resamples": resamples,
            "limit": limit,
            "plane": getattr(dataset, "plane", None),
            "pixel_scale": pixel_scale,
            "resample": resample,
        },
        card=None if absent else same_recipe_card(info, manifest),
        remarks=remarks(info, manifest, len(labels), absent),
        versions=used_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _classified(
    model: LensNetwork, source: Source, options: Options
) -> tuple[Tensor, int]:
    """Logits, and how many images are unlike the training images."""
    with torch.random.fork_rng(devices=[]):  # building the plain form draws
        parts = list(batches(model, source, options))
    unlike = sum(bool(note) for part in parts for note in part.notes)
    return torch.cat([part.logits for part in parts]), unlike


def _data_facts(
    model: LensNetwork, dataset: LabelledImages, labels: np.ndarray, unlike: int
) -> dict[str, Any]:
    """See `ModelEvaluation.data`; without the manifest."""
    counts = np.bincount(labels, minlength=len(model.classes)).tolist()
    judged = model.weights_info.get("image_statistics") or model.domain is not None
    return {
        "path": str(dataset.place),
        "images": len(labels),
        "images_per_class": dict(zip(model.classes, counts, strict=True)),
        "unlike": unlike if judged or unlike else None,
    }


def weights_facts(model: LensNetwork, name: str | None) -> dict[str, Any]:
    """See `ModelEvaluation.weights`."""
    return {
        "name": name,
        "model": model.name,
        "sha256": fingerprint(model),
        "recipe": model.weights_info.get("trained_on", {}).get("recipe"),
    }


def used_versions() -> dict[str, str]:
    """Of lensequiv, torch, numpy and Python."""
    return {
        "lensequiv": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
