"""The block that steerable networks are made of."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lensequiv._e2cnn import FieldType
from lensequiv.models.conversion import PlainLayers
from lensequiv.models.fields import Fields
from lensequiv.models.layers import SteerableConv

__all__ = ["Block"]


class Block(nn.Module):
    """Steerable convolution, norm, activation; a shortcut where the types agree.

    Args:
        kind: Of the fields.
        in_type: Fields of the input.
        fields: How many fields come out.
        kernel: Side of the kernels in pixels.
        activation: `"relu"` or `"gelu"`.
        **options: Of `SteerableConv`.
    """

    def __init__(
        self,
        kind: Fields,
        in_type: FieldType,
        fields: int,
        kernel: int,
        activation: str,
        **options: Any,
    ) -> None:
        super().__init__()
        out_type = kind.type(fields)
        self.conv = SteerableConv(in_type, out_type, kernel, **options)
        self.norm: Any = kind.norm(fields)
        self.activation: Any = kind.activation(activation)
        self.shortcut = in_type == out_type
        self._kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C_in, H, W) to (N, C_out, h, w)."""
        y = self.norm(self.conv(x))
        activated: Tensor = self.activation(y + x if self.shortcut else y)
        return activated

    def add_plain(self, layers: PlainLayers) -> None:
        """Appends the plain form of the block."""
        weight, bias = self._kind.fold(self.conv.filters()[0], self.norm)
        name = self._kind.add_activation(layers, self.activation)
        layers.add_conv(
            weight,
            bias,
            self.conv.stride,
            self.conv.padding,
            shortcut=self.shortcut,
            activation=name,
        )
        if name is None:
            self.activation.add_plain(layers)
