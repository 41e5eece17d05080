"""Calibrated probabilities, and a score for oddity, from validation images."""

from __future__ import annotations

import copy
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv._devices import resolve_device
from lensequiv._neutral import without_tf32
from lensequiv.domain import fit_domain, fit_temperature, image_features
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._running import scales_itself

__all__ = ["calibrate"]


@without_tf32()
@torch.no_grad()
def calibrate(
    model: Classifier,
    images: Tensor | NDArray[Any],
    labels: Tensor | NDArray[Any],
    *,
    false_alarms: float = 0.01,
    unlike: Tensor | NDArray[Any] | None = None,
    batch_size: int = 64,
    progress: bool = False,
    device: str | torch.device | None = None,
) -> None:
    """Sets a model's `temperature` and `domain` from validation images.

    Call it again whenever the weights have changed. `save_pretrained` stores both.

    Args:
        model: Any model; its mode is kept.
        images: (N, C, H, W) in any flux unit and of one size, not trained on; a tensor
            or an array.
        labels: (N,) integers, index into `model.classes`; a tensor or an array.
        false_alarms: Share of images like these that is to be flagged.
        unlike: (M, C, H, W) images of what is to be flagged, such as galaxies that are
            no lenses, if there are any: see `fit_domain`. It helps as far as the
            network tells them apart, best if it was trained to (`lensequiv train
            --unlike`).
        batch_size: Images that go through the network at once.
        progress: Whether to show a progress bar.
        device: Where to compute, on a copy of the model; see `lensequiv.predict`.

    Raises:
        TypeError: Images or labels are of another kind, or labels are no integers.
        ValueError: Their shapes do not fit, an image cannot be used, the device is not
            there, or see `fit_domain`.
    """
    from tqdm.auto import tqdm

    images, labels = _checked(model, images, labels)
    others = None if unlike is None else _as_images(unlike)
    place = home = next(model.parameters()).device
    network, training = model, model.training
    if device is not None and (place := resolve_device(device)) != home:
        network = copy.deepcopy(model).to(place)

    def seen(images: Tensor, what: str) -> list[Tensor]:
        """Pixel features, embeddings and logits of images, on the processor."""
        rows = []
        batches = images.split(batch_size)
        for batch in tqdm(batches, desc=what, disable=not progress):
            if scales_itself(model, place):
                batch = batch.to(place)
            x = model.preprocess(batch.float())
            answer, embedding = network.logits_and_embedding(x.to(place))
            rows.append([image_features(x).cpu(), embedding.cpu(), answer.cpu()])
        return [torch.cat(column).float() for column in zip(*rows, strict=True)]

    try:
        network.eval()
        pixels, embeddings, logits = seen(images, "calibrating")
        if others is not None:
            _, others, _ = seen(others, "what is unlike")
    finally:
        network.train(training)
    model.domain = fit_domain(
        pixels,
        embeddings,
        labels,
        model.num_classes,
        false_alarms=false_alarms,
        unlike=others,
    )
    model.temperature = fit_temperature(logits, labels)


def _checked(model: Classifier, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Images and labels as tensors that belong to each other.

    Raises:
        TypeError: See `calibrate`.
        ValueError: See `calibrate`.
    """
    images = torch.as_tensor(images)
    labels = torch.as_tensor(labels)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels of type {labels.dtype}; expected integers, index into "
            "model.classes"
        )
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"images of shape {tuple(images.shape)} and labels of shape "
            f"{tuple(labels.shape)}; expected (N, C, H, W) and (N,)"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= model.num_classes:
        raise ValueError(
            f"labels from {low} to {high}; expected 0 to {model.num_classes - 1}, "
            f"index into {', '.join(model.classes)}"
        )
    return images, labels.long()


def _as_images(unlike: Any) -> Tensor:
    """As a tensor.

    Raises:
        ValueError: They are no images.
    """
    images = torch.as_tensor(unlike)
    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"unlike of shape {tuple(images.shape)}; expected (M, C, H, W) images"
        )
    return images
