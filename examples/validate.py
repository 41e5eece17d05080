"""Scores of a network while it trains, and the statistics that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MultilabelAUROC

from lensequiv.models import LensNetwork


@torch.no_grad()
def renew_batch_norm(
    model: nn.Module,
    batches: Iterable[Tensor],
    autocast: Callable[[], AbstractContextManager[Any]],
    forward: Callable[[Tensor], Any] | None = None,
) -> None:
    """Batch-norm statistics of the averaged weights, over augmented images.

    The running ones belong to older weights and lag behind at high learning rates.
    Several processes have to share them: see `lensequiv.models.synchronise_batch_norm`.

    Args:
        model: A network, or the part of it whose statistics are wanted; it is left in
            evaluation mode.
        batches: (N, C, H, W) each, preprocessed; none is taken if there is no norm.
        autocast: In which precision the images are seen.
        forward: Sends images through the whole network; `model` itself if None.
    """
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for x in batches if norms else ():
        with autocast():
            (forward or model)(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def validate(
    model: LensNetwork, images: Tensor, labels: Tensor, accelerator: Accelerator
) -> dict[str, Any]:
    """ROC AUC (micro-average, one-vs-rest) and accuracy; processes share the images.

    Args:
        model: In any mode; it is left in evaluation mode.
        images: (N, C, H, W), preprocessed, on any device.
        labels: (N,) int64.
        accelerator: Of the run.
    """
    device, classes = accelerator.device, model.num_classes
    # One decision for every image and class, which is what the micro-average takes.
    micro = MultilabelAUROC(classes, average="micro").to(device)
    each = MultilabelAUROC(classes, average="none").to(device)
    right = MulticlassAccuracy(classes, average="micro").to(device)
    model.eval()
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    for x, y in zip(images[mine].split(250), labels[mine].split(250), strict=True):
        y = y.to(device)
        with accelerator.autocast():
            logits = model(x.to(device))
        # In double precision: float32 ties what is almost certain.
        chance, truth = logits.double().softmax(1), F.one_hot(y, classes)
        for metric, wanted in ((micro, truth), (each, truth), (right, y)):
            metric.update(chance, wanted)
    values = [round(v, 5) for v in each.compute().tolist()]
    return {
        "auc_micro": round(float(micro.compute()), 5),
        "auc": dict(zip(model.classes, values, strict=True)),
        "accuracy": round(float(right.compute()), 5),
    }
