"""From images in any form to probabilities."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeGuard

import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.data import as_images, find_images, read_image
from lensequiv.domain import OutOfDomainWarning, unlike
from lensequiv.models import LensModel

__all__ = ["Images", "Prediction", "predict"]

PathLike = str | os.PathLike[str]
Images = NDArray[Any] | Tensor | PathLike | Sequence[PathLike]


@dataclass(frozen=True)
class Prediction:
    """What a model says about N images.

    Attributes:
        probabilities: (N, classes) float32 on the CPU; rows add up to 1.
        logits: (N, classes) float32 on the CPU.
        labels: The likeliest class's name, for each image.
        paths: Where each image came from, or None for arrays.
        classes: Class names in the order of the columns.
        notes: For each image, in what respects it is unlike the training images;
            empty where none was found.
    """

    probabilities: Tensor
    logits: Tensor
    labels: list[str]
    paths: list[str] | None
    classes: tuple[str, ...]
    notes: list[list[str]]

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


def _read(paths: list[str], hdu: int | str | None) -> Iterator[tuple[str, Tensor]]:
    """Yields (name, (C, H, W) float32) one after the other."""
    for path in paths:
        yield path, torch.from_numpy(read_image(path, hdu=hdu))


def _is_paths(x: Images) -> TypeGuard[PathLike | Sequence[PathLike]]:
    return isinstance(x, str | os.PathLike) or (
        isinstance(x, Sequence) and all(isinstance(i, str | os.PathLike) for i in x)
    )


@torch.no_grad()
def predict(
    model: LensModel,
    x: Images,
    batch_size: int = 64,
    *,
    hdu: int | str | None = None,
    progress: bool = False,
) -> Prediction:
    """Reads, preprocesses and classifies images, batch by batch.

    A classifier says which of its classes an image resembles; on anything that is not
    a lens like those it was trained on, the answer means nothing. Where simple
    statistics of an image lie outside those of the training images, an
    `OutOfDomainWarning` says so; no warning is no proof of the contrary.

    Args:
        model: Any lensequiv model; its mode is kept.
        x: Array or tensor (H, W), (N, H, W) or (N, C, H, W) in any flux unit, a path,
            a folder, or a list of paths and folders.
        batch_size: Images that go through the network at once.
        hdu: For FITS files: number or name of the extension.
        progress: Whether to show a progress bar once it takes two seconds.

    Returns:
        Probabilities, logits, labels, paths and notes, in the order of the input.

    Raises:
        FileNotFoundError: A path does not exist.
        ImageError: An image cannot be read or is not usable; the message names it.
        ValueError: An image does not fit the model, or `batch_size` is not positive.
    """
    from tqdm.auto import tqdm

    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected a positive integer")
    paths: list[str] | None = None
    named: Iterable[tuple[str, Tensor]]
    if _is_paths(x):
        paths = resolve_paths(x)
        named, total = _read(paths, hdu), len(paths)
    else:
        stack = as_images(x)  # type: ignore[arg-type]  # TypeGuard has no else branch
        named, total = [(f"x[{i}]", image) for i, image in enumerate(stack)], len(stack)
    device = next(model.parameters()).device
    training = model.training
    if training:
        model.eval()
    logits, notes = [], []
    statistics = model.weights_info.get("image_statistics", {})
    try:
        images = iter(
            tqdm(named, total=total, unit="img", delay=2, disable=not progress)
        )
        while batch := list(islice(images, batch_size)):
            prepared = [_prepare(model, name, image) for name, image in batch]
            notes += [unlike(image, statistics) for image in prepared]
            # Images of several valid sizes may follow each other.
            for _, group in groupby(prepared, key=lambda image: image.shape):
                out = model(torch.stack(list(group)).to(device))
                logits.append(out.float().cpu())
    finally:
        if training:
            model.train()
    names = paths or [f"x[{i}]" for i in range(len(notes))]
    _warn(names, notes)
    all_logits = torch.cat(logits)
    return Prediction(
        probabilities=all_logits.softmax(1),
        logits=all_logits,
        labels=[model.classes[i] for i in all_logits.argmax(1).tolist()],
        paths=paths,
        classes=model.classes,
        notes=notes,
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


def _warn(names: list[str], notes: list[list[str]]) -> None:
    odd = [(name, note) for name, note in zip(names, notes, strict=True) if note]
    if not odd:
        return
    shown = "\n".join(f"  {name}: {'; '.join(note)}" for name, note in odd[:5])
    more = f"\n  and {len(odd) - 5} more" if len(odd) > 5 else ""
    warnings.warn(
        f"{len(odd)} of {len(names)} images are unlike the training images, so their "
        f"labels may mean nothing:\n{shown}{more}",
        OutOfDomainWarning,
        stacklevel=5,  # _warn, predict, no_grad, LensModel.predict, the caller
    )
