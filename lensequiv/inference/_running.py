"""Batches through the network, on whatever device, however little memory it has."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lensequiv._devices import is_out_of_memory
from lensequiv._neutral import neutral, without_tf32
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._options import Precision, check_precision
from lensequiv.inference._preparing import Prepared, features_of, kind
from lensequiv.plain import PlainModel
from lensequiv.transforms import CropAndScale

__all__ = ["Answers", "Pending", "Runner", "network_of", "scales_itself"]


class Answers(NamedTuple):
    """What was found about some images, on the CPU.

    Attributes:
        logits: (n, classes) float32.
        features: (n, 16) or (n, 5) float32; see `features_of`.
        distances: (n, 2) float64; see `lensequiv.domain.Domain.distances`. None if the
            model has no domain.
        usable: (n,) bool: whether the device could scale the image.
        maps: (4, h, w) float32 each, as `LensNetwork.forward_map` has them; None if no
            maps are wanted.
        quantities: (n, Q, 5) float32, as `LensNetwork.forward_quantities` has them;
            None if none are wanted.
    """

    logits: Tensor
    features: Tensor
    distances: Tensor | None
    usable: Tensor
    maps: list[Tensor] | None = None
    quantities: Tensor | None = None


@dataclass(frozen=True)
class Pending:
    """Answers that a GPU may still be working on.

    Attributes:
        parts: In memory to which the GPU copies them.
        copied: Happens when they are there; None if they are.
    """

    parts: list[Answers]
    copied: torch.cuda.Event | None


def network_of(
    model: Classifier, precision: str, device: torch.device | None = None
) -> Classifier | PlainModel:
    """The plain form where there is one, else the model's copy in evaluation mode.

    Args:
        model: Any; it stays what and where it is.
        precision: Of the convolutions.
        device: Where the result is to be; where the model is if None.

    Raises:
        NotImplementedError: There is no plain form, or it would leave out a hook, and
            `precision` asks for one.
        ValueError: `precision` is none of `Options`.
    """
    check_precision(precision)
    home = next(model.parameters()).device
    device = home if device is None else device
    try:
        if device == home and not model.training:
            _check_hooks(model)
        plain = model.to_torch()
    except NotImplementedError:
        if precision == "bf16":
            raise
        if device == home and not model.training:
            return model
        try:
            twin: Classifier = copy.deepcopy(model).eval().to(device)
            return twin
        except TypeError as error:  # layers were replaced
            raise TypeError(
                f"{error}; to predict with them, call model.eval() and, for another "
                "device, model.to(...) first"
            ) from None
    plain = plain.to(device)
    return plain.bfloat16_convolutions() if precision == "bf16" else plain


def _check_hooks(model: Classifier) -> None:
    """Requires that no layer has a hook, which the plain form would not call.

    Hooks may change what a layer returns; pruning works by them.

    Raises:
        NotImplementedError: One has.
    """
    for name, module in model.named_modules():
        if name and (module._forward_hooks or module._forward_pre_hooks):
            raise NotImplementedError(
                f"the layer {name} has a hook, which the plain form does not call: "
                "remove it, or use precision='fp32'"
            )


def scales_itself(model: Classifier, device: torch.device) -> bool:
    """Whether a device can scale and measure a model's images, faster than the CPU."""
    return device.type == "cuda" and isinstance(model.preprocess, CropAndScale)


class Runner:
    """Classifies batches of prepared images.

    Args:
        model: Whose record counts.
        network: Its plain form or copy, on the device.
        device: Where to compute.
        precision: Of the convolutions.
        raw: Whether images come cropped, to be scaled and measured on the device.
        maps: Whether to map the substructure, too.
        quantities: Whether to tell quantities, too.
    """

    def __init__(
        self,
        model: Classifier,
        network: Classifier | PlainModel,
        device: torch.device,
        precision: Precision,
        *,
        raw: bool,
        maps: bool = False,
        quantities: bool = False,
    ) -> None:
        if precision == "tf32" and device.type != "cuda":
            raise ValueError(
                f"precision='tf32' is for CUDA, but the network is on {device}"
            )
        self.model, self.network, self.device = model, network, device
        self._maps, self._quantities = maps, quantities
        self._scale = None
        if raw:
            assert isinstance(model.preprocess, CropAndScale)
            self._scale = model.preprocess.attempt
        exact = device.type == "cuda" and precision != "tf32"
        self._context = without_tf32 if exact else nullcontext
        # MPS knows no double precision.
        self._judging = torch.device("cpu") if device.type == "mps" else device
        self._domain = None if model.domain is None else model.domain.to(self._judging)
        self._limit: int | None = None

    @neutral()
    @torch.no_grad()
    def start(self, items: Sequence[Prepared]) -> Pending:
        """Sends images to the device, which need not be ready when this returns.

        Raises:
            MemoryError: The device has too little memory for a single one.
        """
        parts: list[Answers] = []
        with self._context():
            # Images of several valid sizes may follow each other.
            for _, group in groupby(items, kind):
                parts += self._in_parts(list(group))
        if self.device.type != "cuda":
            return Pending(parts, None)
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(self.device))
        return Pending(parts, copied)

    def finish(self, pending: Pending) -> Answers | None:
        """Waits for the device; None if there was no image.

        Raises:
            ValueError: A logit is NaN or infinite.
        """
        if not pending.parts:
            return None
        if pending.copied is not None:
            pending.copied.synchronize()
        whole = Answers(*map(_joined, zip(*pending.parts, strict=True)))
        if not bool((whole.logits.isfinite().all(1) | ~whole.usable).all()):
            raise ValueError(
                f"{self.model.name}: a logit is NaN or infinite, so the weights are "
                "useless: their training diverged, or they were changed"
            )
        return whole

    def _in_parts(self, items: list[Prepared]) -> list[Answers]:
        """Images of one kind, as many at once as the device has memory for."""
        parts: list[Answers] = []
        while items:
            now = items[: self._limit]
            try:
                parts.append(self._answers(now))
                items = items[len(now) :]
                continue
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).strip().splitlines()[0]
            # Out here, since the error's traceback holds on to the tensors.
            self._halve(len(now), reason)
        return parts

    def _halve(self, size: int, reason: str) -> None:
        """Makes batches smaller, says so the first time, and frees what is unused.

        Raises:
            MemoryError: They cannot be smaller.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            raise MemoryError(
                f"{self.model.name}: {self.device} has too little free memory for a "
                f"single image ({reason}); end what else uses it, or choose another "
                "device"
            )
        if self._limit is None:
            warnings.warn(
                f"{self.device} has too little free memory for {size} images at once; "
                f"going on with {size // 2} (and half of that where need be)",
                stacklevel=2,
            )
        self._limit = size // 2

    def _answers(self, items: list[Prepared]) -> Answers:
        """Sends images of one kind to the device, and their answers on the way back."""
        images = self._sent([item.image for item in items])
        usable = torch.ones(len(items), dtype=torch.bool)
        if self._scale is not None:
            images, planes = self._scale(images)
            features, usable = features_of(self.model, images), planes.all(1)
        else:
            features = torch.stack(
                [i.features for i in items if i.features is not None]
            )
        self.model.check_input(images)
        maps: list[Tensor] | None = None
        if self._maps:
            logits, embedding, drawn = self.network.heads(images)
            assert drawn is not None
            maps = list(self._returned(drawn.float()))
        else:
            logits, embedding = self.network.logits_and_embedding(images)
        if logits.shape[1] != len(self.model.classes):
            raise ValueError(
                f"{self.model.name} gives {logits.shape[1]} logits, but has "
                f"{len(self.model.classes)} classes, so its head was replaced by hand; "
                "from_pretrained(..., classes=[...]) gives it a head for your classes"
            )
        told = None
        if self._quantities:
            told = self._returned(self.network.quantiles(embedding).float())
        distances = None
        if self._domain is not None:
            rows = [x.float().to(self._judging) for x in (features, embedding)]
            distances = self._returned(self._domain.distances(*rows))
        back = [self._returned(x) for x in (logits.float(), features, usable)]
        return Answers(back[0], back[1], distances, back[2], maps, told)

    def _sent(self, images: list[Tensor]) -> Tensor:
        """A batch on the device; to a GPU it is copied while that computes."""
        if self.device.type != "cuda" or not images[0].is_cpu:
            return torch.stack(images).to(self.device)
        shape, dtype = (len(images), *images[0].shape), images[0].dtype
        pinned = torch.empty(shape, dtype=dtype, pin_memory=True)
        return torch.stack(images, out=pinned).to(self.device, non_blocking=True)

    def _returned(self, found: Tensor) -> Tensor:
        """A copy on the CPU, which a GPU need not have finished."""
        if found.device.type != "cuda":
            return found.cpu()
        pinned = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        return pinned.copy_(found, non_blocking=True)


def _joined(values: Sequence[Tensor | list[Tensor] | None]) -> Any:
    """The values of several parts as one, in memory of its own; None for no values."""
    found: list[Any] = [value for value in values if value is not None]
    if found and isinstance(found[0], list):
        return [one.clone() for part in found for one in part]
    return torch.cat(found) if found else None
