"""Convolutional and linear layers, with what is folded into them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
}


class Conv(nn.Module):
    """A convolution with bias, then optionally a shortcut and an activation.

    `relu=False` leaves the activation out. The input is cast to the weights' type, so
    that a network can compute in bf16 what is worth it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        padding: int,
        shortcut: bool = False,
        relu: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.shortcut, self.relu = shortcut, relu
        self.function = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, h, w)."""
        x = x.to(self.conv.weight.dtype)
        y: Tensor = self.conv(x)
        if self.shortcut:
            y = y + x
        return self.function(y) if self.relu else y


class BasicBlock(nn.Module):
    """ResNet's: two convolutions beside a shortcut, which may be a convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(inputs, outputs, 3, stride, 1)
        self.second = Conv(outputs, outputs, 3, 1, 1, relu=False)
        changes = stride != 1 or inputs != outputs
        self.downsample = (
            Conv(inputs, outputs, 1, stride, 0, relu=False) if changes else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, h, w)."""
        aside = x if self.downsample is None else self.downsample(x)
        y: Tensor = self.second(self.first(x)) + aside
        return torch.relu(y)


class MaxPool(nn.Module):
    """Maximum over windows."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, h, w)."""
        return F.max_pool2d(x, self.kernel, self.stride, self.padding)


class Flatten(nn.Module):
    """(N, C, H, W) to (N, C H W), in single precision or better."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))


class Linear(nn.Module):
    """A linear layer, then optionally `"relu"` or `"elu"`.

    The input is cast to the weights' type, as that of `Conv` is.
    """

    def __init__(
        self, inputs: int, outputs: int, activation: str | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs) to (N, outputs)."""
        y: Tensor = self.linear(x.to(self.linear.weight.dtype))
        if self.activation == "relu":
            return torch.relu(y)
        return F.elu(y) if self.activation == "elu" else y
