"""From images in any form to probabilities."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, TypeGuard

import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv._neutral import neutral
from lensequiv._threads import ahead
from lensequiv.data import as_images, find_images, read_image
from lensequiv.domain import (
    OutOfDomainWarning,
    describe,
    image_statistics,
    outside,
)
from lensequiv.models import LensModel
from lensequiv.plain import PlainModel

__all__ = ["Images", "Prediction", "iter_predict", "predict"]

PathLike = str | os.PathLike[str]
Images = NDArray[Any] | Tensor | PathLike | Sequence[PathLike]


@dataclass(frozen=True)
class Prediction:
    """What a model says about N images.

    Attributes:
        probabilities: (N, classes) float32 on the CPU; rows add up to 1. The softmax
            of the logits over the model's temperature.
        logits: (N, classes) float32 on the CPU, as the network returns them.
        labels: The likeliest class's name, for each image.
        paths: Where each image came from, or None for arrays.
        classes: Class names in the order of the columns.
        notes: For each image, in what respects it is unlike the training images;
            empty where none was found.
        ood_score: (N,) float32 on the CPU, the distance from the training images
            (see `lensequiv.trust.Domain`); None if the model has no `domain`.
    """

    probabilities: Tensor
    logits: Tensor
    labels: list[str]
    paths: list[str] | None
    classes: tuple[str, ...]
    notes: list[list[str]]
    ood_score: Tensor | None = None

    @property
    def unlike_training(self) -> Tensor:
        """(N,) bool: whether there is a note, so that the label may mean nothing."""
        return torch.tensor([bool(note) for note in self.notes], dtype=torch.bool)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)


def resolve_paths(x: PathLike | Sequence[PathLike]) -> list[str]:
    """Files named by a path, a folder (searched recursively) or a list of these.

    Raises:
        FileNotFoundError: A path does not exist.
        ImageError: A folder holds no images.
        ValueError: The list is empty.
    """
    given = [x] if isinstance(x, str | os.PathLike) else list(x)
    if not given:
        raise ValueError("x is an empty list; expected paths of images")
    found: list[str] = []
    for item in map(Path, given):
        if item.is_dir():
            found += map(str, find_images(item))
        elif item.exists():
            found.append(str(item))
        else:
            raise FileNotFoundError(f"{item} does not exist")
    return found


def _is_paths(x: Images) -> TypeGuard[PathLike | Sequence[PathLike]]:
    return isinstance(x, str | os.PathLike) or (
        isinstance(x, Sequence) and all(isinstance(i, str | os.PathLike) for i in x)
    )


def predict(
    model: LensModel,
    x: Images,
    batch_size: int = 64,
    *,
    hdu: int | str | None = None,
    progress: bool = False,
    workers: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Prediction:
    """Reads, preprocesses and classifies images, batch by batch.

    A classifier says which of its classes an image resembles; on anything that is not
    a lens like those it was trained on, the answer means nothing. Where statistics of
    an image or its embedding lie outside those of the training images, an
    `OutOfDomainWarning` says so; no warning is no proof of the contrary.
    See `docs/trust.md`.

    For more images than results fit in memory see `iter_predict` and
    `predict_to_file`.

    Args:
        model: Any lensequiv model; its mode is kept.
        x: Array or tensor (H, W), (N, H, W) or (N, C, H, W) in any flux unit, a path,
            a folder, or a list of paths and folders.
        batch_size: Images that go through the network at once.
        hdu: For FITS files: number or name of the extension; for HDF5 and NPZ the name
            of the data set or array.
        progress: Whether to show a progress bar once it takes two seconds.
        workers: Threads that read and preprocess ahead of the network; one for each of
            torch's threads, at most 4, if None.
        precision: `"bf16"` lets the convolutions compute in bf16: 1.7 times as fast on
            processors that have it. Probabilities then change by up to 0.07 and the
            micro AUC by 1e-4 (`c8-modelF` on 4,500 images), which is why it is not
            the default.

    Returns:
        Probabilities, logits, labels, paths, notes and scores, in the order of the
        input.

    Raises:
        FileNotFoundError: A path does not exist.
        ImageError: An image cannot be read or is not usable; the message names it.
        ValueError: An image does not fit the model, or another argument is out of
            range.
    """
    source = source_of(x, hdu)
    parts = list(
        batches(model, source, batch_size, 0, progress, workers, precision, "raise")
    )
    whole = Batch(
        names=list(source.names),
        errors=[None] * len(source.names),
        logits=torch.cat([part.logits for part in parts]),
        probabilities=torch.cat([part.probabilities for part in parts]),
        notes=[note for part in parts for note in part.notes],
        scores=None
        if parts[0].scores is None
        else torch.cat([part.scores for part in parts if part.scores is not None]),
    )
    _warn(whole, 0.0 if model.domain is None else model.domain.false_alarms)
    return _prediction(model, whole, source.paths)


def iter_predict(
    model: LensModel,
    x: Images,
    batch_size: int = 64,
    *,
    hdu: int | str | None = None,
    progress: bool = False,
    workers: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    start: int = 0,
) -> Iterator[Prediction]:
    """The same, one `Prediction` a batch, so memory does not grow with the images.

    Args:
        model: See `predict`.
        x: See `predict`.
        batch_size: See `predict`.
        hdu: See `predict`.
        progress: See `predict`.
        workers: See `predict`.
        precision: See `predict`.
        start: Index of the first image, for going on where a run ended.

    Yields:
        Predictions for at most `batch_size` images each, in order. What is unlike the
        training images stands in their notes; no warning is given.

    Raises:
        FileNotFoundError: See `predict`.
        ImageError: See `predict`.
        ValueError: See `predict`.
    """
    source = source_of(x, hdu)
    parts = batches(
        model, source, batch_size, start, progress, workers, precision, "raise"
    )
    for part in parts:
        yield _prediction(model, part, part.names if source.paths else None)


@dataclass(frozen=True)
class Source:
    """Named images, read one by one."""

    names: Sequence[str]
    read: Callable[[int], Tensor]
    paths: list[str] | None


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network.

    Attributes:
        image: (C, H, W), preprocessed.
        pixels: Its `lensequiv.domain.describe`, if the model has a domain.
        notes: On its statistics.
    """

    image: Tensor
    pixels: Tensor | None
    notes: list[str]


@dataclass(frozen=True)
class Batch:
    """Some images on their way through the network.

    Attributes:
        names: Of all images that were asked for.
        errors: Why one could not be used, or None, for each name.
        logits: (n, classes) float32 on the CPU, for the images without error.
        probabilities: Likewise.
        notes: For the images without error.
        scores: (n,) float32, for the images without error; None if the model has no
            `domain`.
    """

    names: list[str]
    errors: list[str | None]
    logits: Tensor
    probabilities: Tensor
    notes: list[list[str]]
    scores: Tensor | None


def source_of(x: Images, hdu: int | str | None) -> Source:
    if _is_paths(x):
        paths = resolve_paths(x)
        return Source(
            paths, lambda i: torch.from_numpy(read_image(paths[i], hdu=hdu)), paths
        )
    stack = as_images(x)  # type: ignore[arg-type]  # TypeGuard has no else branch
    return Source([f"x[{i}]" for i in range(len(stack))], lambda i: stack[i], None)


def batches(
    model: LensModel,
    source: Source,
    batch_size: int,
    start: int,
    progress: bool,
    workers: int | None,
    precision: str,
    on_error: str,
    network: LensModel | PlainModel | None = None,
) -> Iterator[Batch]:
    """Reads ahead in threads, classifies in this one.

    Args:
        model: See `predict`.
        source: What to read.
        batch_size: See `predict`.
        start: Index of the first image.
        progress: See `predict`.
        workers: See `predict`.
        precision: See `predict`.
        on_error: `"raise"`, or `"skip"` to note in the batch what cannot be used.
        network: What `network_of` made for an earlier call; made anew if None.

    Yields:
        The images in order.

    Raises:
        ImageError: See `predict`.
        ValueError: See `predict`.
    """
    from tqdm.auto import tqdm

    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected a positive integer")
    workers = min(torch.get_num_threads(), 4) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers}: expected a positive integer")
    if network is None:
        network = network_of(model, precision)
    device = next(model.parameters()).device
    ranges = model.weights_info.get("image_statistics", {})

    def prepare(i: int) -> Prepared | Exception:
        try:
            image = _prepare(model, source.names[i], source.read(i))
            found = image_statistics(image[None])
            pixels = None if model.domain is None else describe(image[None], found)[0]
            return Prepared(image, pixels, outside(found, ranges))
        except (OSError, ValueError) as error:
            if on_error == "raise":
                raise
            return error

    total = len(source.names)
    bar = tqdm(total=total, initial=start, unit="img", delay=2, disable=not progress)
    # While one batch is in the network, the two after it are read.
    ready = ahead(prepare, range(start, total), workers, 2 * batch_size + 1)
    with bar, closing(ready):
        for first in range(start, total, batch_size):
            batch = list(islice(ready, batch_size))
            good = [item for item in batch if not isinstance(item, Exception)]
            logits, embeddings = _classify(network, good, device, model)
            notes, scores = [item.notes for item in good], None
            if model.domain is not None:
                pixels = [item.pixels for item in good if item.pixels is not None]
                more, scores = model.domain.judge(pixels, embeddings)
                notes = [a + b for a, b in zip(notes, more, strict=True)]
            yield Batch(
                names=list(source.names[first : first + batch_size]),
                errors=[str(i) if isinstance(i, Exception) else None for i in batch],
                logits=logits,
                probabilities=(logits / model.temperature).softmax(1),
                notes=notes,
                scores=scores,
            )
            bar.update(len(batch))


def network_of(model: LensModel, precision: str) -> LensModel | PlainModel:
    """The plain form where there is one, else the model's copy in evaluation mode.

    Raises:
        NotImplementedError: There is no plain form, and `precision` asks for one.
        ValueError: `precision` is neither `"fp32"` nor `"bf16"`.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision={precision!r}: expected 'fp32' or 'bf16'")
    try:
        plain = model.to_torch()
    except NotImplementedError:
        if precision == "bf16":
            raise
        return copy.deepcopy(model).eval() if model.training else model
    return plain.bfloat16_convolutions() if precision == "bf16" else plain


@neutral()
@torch.no_grad()
def _classify(
    network: LensModel | PlainModel,
    good: list[Prepared],
    device: torch.device,
    model: LensModel,
) -> tuple[Tensor, list[Tensor]]:
    """Logits (n, classes) float32 and embeddings, on the CPU."""
    logits, embeddings = [torch.empty(0, model.num_classes)], []
    images = [item.image for item in good]
    # Images of several valid sizes may follow each other.
    for _, group in groupby(images, key=lambda image: image.shape):
        batch = torch.stack(list(group)).to(device)
        model._check(batch)
        if isinstance(network, LensModel):
            embedding = network.embed(batch)
            found = network.head(embedding)
        else:
            found, embedding = network.logits_and_embedding(batch)
        logits.append(found.float().cpu())
        embeddings += list(embedding.float().cpu())
    together = torch.cat(logits)
    if not bool(torch.isfinite(together).all()):
        raise ValueError(
            f"{model.name}: a logit is NaN or infinite, so the weights are useless: "
            "their training diverged, or they were changed"
        )
    return together, embeddings


def _prediction(model: LensModel, batch: Batch, paths: list[str] | None) -> Prediction:
    return Prediction(
        probabilities=batch.probabilities,
        logits=batch.logits,
        labels=[model.classes[i] for i in batch.logits.argmax(1).tolist()],
        paths=paths,
        classes=model.classes,
        notes=batch.notes,
        ood_score=batch.scores,
    )


def _prepare(model: LensModel, name: str, image: Tensor) -> Tensor:
    if image.shape[0] != model.in_channels:
        raise ValueError(
            f"{name} has {image.shape[0]} channels; {model.name} expects "
            f"{model.in_channels}"
        )
    try:
        return model.preprocess(image)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _warn(batch: Batch, share: float) -> None:
    named = zip(batch.names, batch.notes, strict=True)
    odd = [(name, note) for name, note in named if note]
    if not odd:
        return
    shown = "\n".join(f"  {name}: {'; '.join(note)}" for name, note in odd[:5])
    more = f"\n  and {len(odd) - 5} more" if len(odd) > 5 else ""
    chance = ""
    if share:
        chance = f" ({100 * share:.3g} % of images like the training ones are, too)"
    warnings.warn(
        f"{len(odd)} of {len(batch.names)} images are unlike the training images, so "
        f"their labels may mean nothing{chance}:\n{shown}{more}",
        OutOfDomainWarning,
        stacklevel=4,  # _warn, predict, LensModel.predict, the caller
    )
