"""Calibrated probabilities, and a score for oddity, from validation images."""

from __future__ import annotations

import copy

import torch
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
    images: Tensor,
    labels: Tensor,
    *,
    false_alarms: float = 0.01,
    batch_size: int = 64,
    progress: bool = False,
    device: str | torch.device | None = None,
) -> None:
    """Sets a model's `temperature` and `domain` from validation images.

    Call it again whenever the weights have changed. `save_pretrained` stores both.

    Args:
        model: Any model; its mode is kept.
        images: (N, C, H, W) in any flux unit and of one size, not trained on.
        labels: (N,) int64, index into `model.classes`.
        false_alarms: Share of images like these that is to be flagged.
        batch_size: Images that go through the network at once.
        progress: Whether to show a progress bar.
        device: Where to compute, on a copy of the model; see `lensequiv.predict`.

    Raises:
        ValueError: An image cannot be used, the device is not there, or see
            `fit_domain`.
    """
    from tqdm.auto import tqdm

    place = home = next(model.parameters()).device
    network, training = model, model.training
    if device is not None and (place := resolve_device(device)) != home:
        network = copy.deepcopy(model).to(place)
    pixels, embeddings, logits = [], [], []
    try:
        network.eval()
        batches = images.split(batch_size)
        for batch in tqdm(batches, desc="calibrating", disable=not progress):
            if scales_itself(model, place):
                batch = batch.to(place)
            x = model.preprocess(batch.float())
            pixels.append(image_features(x).cpu())
            answer, embedding = network.logits_and_embedding(x.to(place))
            embeddings.append(embedding.float().cpu())
            logits.append(answer.float().cpu())
    finally:
        network.train(training)
    model.domain = fit_domain(
        torch.cat(pixels),
        torch.cat(embeddings),
        labels,
        model.num_classes,
        false_alarms=false_alarms,
    )
    model.temperature = fit_temperature(torch.cat(logits), labels)
