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


class _Block(nn.Module):
    """Two convolutions beside the input, whose channels and size follow where needed.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: Of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        downsample = None
        if inputs != outputs:
            downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += beside
        return cast(Tensor, self.relu(y))


class ResNet18(LensNetwork, registered="resnet18"):
    """ResNet-18 (He et al., arXiv:1512.03385) for any channel count.

    Layers, their names and the weights that a seed draws are those of torchvision's,
    which takes three seconds to import and is not needed. Not equivariant under
    rotations: what the zoo's models are compared with.

    Args:
        in_channels: Channels of the input.
        num_classes: Number of logits.
        initialize: Accepted like everywhere; weights are drawn in any case.

    Raises:
        ValueError: A count is not a positive integer.
    """

    input_weight = "conv1.weight"

    def __init__(
        self, in_channels: int = 1, num_classes: int = 3, initialize: bool = True
    ) -> None:
        super().__init__(in_channels, num_classes, InputSizes(33, 1, 1024))
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(_Block(64, 64), _Block(64, 64))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512))
        # torchvision draws a head here, so that the convolutions follow in its order.
        nn.Linear(512, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        if in_channels != 3:
            self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out")
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
        body = cast(Any, self)  # its layers have no types
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
