"""ResNet-18, the yardstick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lensequiv.models.base import LensNetwork
from lensequiv.models.conversion import PlainLayers, fold_norm
from lensequiv.models.sizes import InputSizes

if TYPE_CHECKING:
    from lensequiv._e2cnn import FieldType

__all__ = ["ResNet18"]

_LAYERS = (
    *("conv1", "bn1", "relu", "maxpool"),
    *("layer1", "layer2", "layer3", "layer4"),
)


class ResNet18(LensNetwork, registered="resnet18"):
    """torchvision's ResNet-18 (He et al., arXiv:1512.03385) for any channel count.

    Not equivariant under rotations: what the zoo's models are compared with.

    Args:
        in_channels: Channels of the input.
        num_classes: Number of logits.
        initialize: Accepted like everywhere; torchvision initialises in any case.

    Raises:
        ValueError: A count is not a positive integer.
    """

    input_weight = "conv1.weight"

    def __init__(
        self, in_channels: int = 1, num_classes: int = 3, initialize: bool = True
    ) -> None:
        from torchvision.models import resnet18

        super().__init__(in_channels, num_classes, InputSizes(33, 1, 1024))
        net = resnet18(num_classes=1)
        if in_channels != 3:
            net.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out")
        for name in _LAYERS:
            self.add_module(name, getattr(net, name))
        self.head = nn.Linear(512, num_classes)
        # Measured on two cores in bf16: a training step takes 0.7 of the time.
        self.to(memory_format=torch.channels_last)

    def _features(self, x: Tensor) -> Tensor:
        x = self._cast(x)
        for name in _LAYERS:
            layer = getattr(self, name)
            # The first ReLU overwrites its input, which could not be recomputed from.
            x = self._step(layer, x) if name.startswith("layer") else layer(x)
        return x

    def field_types(self) -> dict[str, FieldType | None]:
        """The four stages, their channels taken as scalars; see `LensNetwork`."""
        return {f"layer{i}": None for i in range(1, 5)}

    def _plain_layers(self, layers: PlainLayers) -> None:
        body = cast(Any, self)  # its layers are torchvision's
        layers.add_conv(*fold_norm(body.conv1.weight, body.bn1), 2, 3)
        layers.add("max-pool", {}, kernel=3, stride=2, padding=1)
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
            for block in stage:
                parts = {
                    "first": (block.conv1, block.bn1),
                    "second": (block.conv2, block.bn2),
                }
                if block.downsample is not None:
                    parts["downsample"] = tuple(block.downsample)
                tensors = {}
                for name, (conv, norm) in parts.items():
                    weight, bias = fold_norm(conv.weight, norm)
                    tensors[f"{name}.conv.weight"] = weight
                    tensors[f"{name}.conv.bias"] = bias
                layers.add(
                    "basic-block",
                    tensors,
                    inputs=block.conv1.in_channels,
                    outputs=block.conv1.out_channels,
                    stride=block.conv1.stride[0],
                )
        layers.add("map-mean", {})
        layers.mark_embedding()
        layers.add_linear(body.head)

    def _pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))
