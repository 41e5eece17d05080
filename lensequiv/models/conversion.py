"""From equivariant networks to `lensequiv.plain`: what the architectures share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lensequiv._neutral import neutral
from lensequiv.models._by_hand import replaced_layer
from lensequiv.plain import PlainModel

if TYPE_CHECKING:
    from lensequiv.models._recorded import Recorded

__all__ = [
    "PlainLayers",
    "PlainLayersOfMap",
    "fold_norm",
    "multiply_adds",
    "to_plain",
    "widened",
]


@dataclass
class PlainLayers:
    """Layers of a `PlainModel` and their tensors, collected in order.

    `embedding` is how many of them lead to the embedding; `map_head` the head that maps
    the substructure, if there is one.
    """

    config: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    embedding: int = 0
    map_head: PlainLayersOfMap | None = None

    def mark_embedding(self) -> None:
        """Says that what the layers so far return is `LensNetwork.embed`'s vector."""
        self.embedding = len(self.config)

    def add(self, layer: str, tensors: dict[str, Tensor], **arguments: Any) -> None:
        """Appends a layer.

        Args:
            layer: Its name in `lensequiv.plain`.
            tensors: Its state, by name.
            **arguments: Of its constructor, JSON-able.
        """
        for name, value in tensors.items():
            self.tensors[f"{len(self.config)}.{name}"] = value.detach()
        self.config.append({"layer": layer, **arguments})

    def add_conv(
        self,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        padding: int,
        *,
        shortcut: bool = False,
        activation: str | None = "relu",
    ) -> None:
        """Appends a convolution with bias and activation, or none if that is None."""
        # Left out where it is ReLU, as in files of older versions.
        other: dict[str, Any] = {}
        if activation is None:
            other = {"relu": False}
        elif activation != "relu":
            other = {"activation": activation}
        self.add(
            "conv",
            {"conv.weight": weight, "conv.bias": bias},
            inputs=weight.shape[1],
            outputs=weight.shape[0],
            kernel=weight.shape[2],
            stride=stride,
            padding=padding,
            shortcut=shortcut,
            **other,
        )

    def add_linear(
        self,
        linear: nn.Linear,
        norm: nn.BatchNorm1d | None = None,
        activation: str | None = None,
    ) -> None:
        """Appends a linear layer with the batch norm after it."""
        weight: Tensor = linear.weight
        bias: Tensor = linear.bias
        if norm is not None:
            weight, bias = fold_norm(weight, norm, bias=bias)
        self.add(
            "linear",
            {"linear.weight": weight, "linear.bias": bias},
            inputs=linear.in_features,
            outputs=linear.out_features,
            activation=activation,
        )


class PlainLayersOfMap(NamedTuple):
    """The plain form of a `MapHead`, collected; see `lensequiv.plain.PlainMap`."""

    taps: list[int]
    branches: list[PlainLayers]
    layers: PlainLayers

    def to_config(self) -> dict[str, Any]:
        """What rebuilds it."""
        return {
            "taps": self.taps,
            "branches": [branch.config for branch in self.branches],
            "layers": self.layers.config,
        }

    def tensors(self) -> dict[str, Tensor]:
        """By their names in a `PlainMap`."""
        found = {f"layers.{name}": value for name, value in self.layers.tensors.items()}
        for i, branch in enumerate(self.branches):
            for name, value in branch.tensors.items():
                found[f"branches.{i}.{name}"] = value
        return found


def widened(x: Tensor) -> Tensor:
    """In double precision; in single on Apple's GPUs, which have no other."""
    return x.float() if x.device.type == "mps" else x.double()


def fold_norm(
    weight: Tensor,
    norm: nn.modules.batchnorm._BatchNorm,
    *,
    repeat: int = 1,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Folds batch norm in evaluation mode into the layer before it.

    Args:
        weight: (C, ...) of that layer.
        norm: With C / repeat channels.
        repeat: Successive channels that share the norm: the size of a field.
        bias: (C,) of that layer, or None.

    Returns:
        Weight and bias that do both.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance = widened(norm.running_var) + norm.eps
    scale = widened(norm.weight) * torch.rsqrt(variance)
    shift = widened(norm.bias) - widened(norm.running_mean) * scale
    scale, shift = scale.repeat_interleave(repeat), shift.repeat_interleave(repeat)
    folded = widened(weight) * scale.view(-1, *[1] * (weight.ndim - 1))
    if bias is not None:
        shift = shift + widened(bias) * scale
    return folded.to(weight.dtype), shift.to(weight.dtype)


@neutral()
@torch.no_grad()
def to_plain(model: Recorded, collect: Callable[[PlainLayers], None]) -> PlainModel:
    """Makes the plain form of a model; see `LensNetwork.to_torch`.

    Args:
        model: Any.
        collect: Adds the model's layers, in evaluation mode, to those given.

    Raises:
        NotImplementedError: A layer was replaced by hand.
    """
    if replaced := replaced_layer(model):
        raise NotImplementedError(
            f"{model.name} has no plain form any more: {replaced}; for another head "
            "use create_model or from_pretrained with num_classes or classes"
        )
    training = model.training
    if training:
        model.eval()
    layers = PlainLayers()
    try:
        collect(layers)
    finally:
        if training:
            model.train()
    config = {
        "layers": layers.config,
        "embedding": layers.embedding,
        "in_channels": model.in_channels,
        "input_sizes": list(model.input_sizes.range),
        **model.spec.answers(),
    }
    state = {name: value.clone() for name, value in layers.tensors.items()}
    if layers.map_head is not None:
        config["map_head"] = layers.map_head.to_config()
        for name, value in layers.map_head.tensors().items():
            state[f"map_head.{name}"] = value.clone()
    plain = PlainModel(config)
    for name in plain.state_dict():
        if name.startswith("quantity_head."):
            # Read as attributes, which pruned and parametrised weights still are.
            state[name] = attrgetter(name)(model).detach().clone()
    plain.load_state_dict(state, strict=True, assign=True)
    # Fixed filters are in no state, and were made on the processor.
    plain.to(next(iter(state.values())).device)
    return plain.requires_grad_(False)


@neutral()
@torch.no_grad()
def multiply_adds(plain: PlainModel, size: int) -> int:
    """The multiplications of one image; see `LensNetwork.multiply_adds`."""
    like = next(plain.parameters())
    with FlopCounterMode(display=False) as counter:
        plain(like.new_zeros(1, plain.config["in_channels"], size, size))
    flops: int = counter.get_total_flops()
    return flops // 2
