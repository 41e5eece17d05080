"""Layers on fields: several channels of a pixel that the group mixes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._convolutions import ACTIVATIONS


def group_max(x: Tensor, order: int) -> Tensor:
    """Maximum over the group: (N, F * order, H, W) to (N, F, H, W)."""
    fields: Tensor = x.unflatten(1, (-1, order)).amax(2)
    return fields


class GroupMax(nn.Module):
    """`group_max`."""

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return group_max(x, self.order)


def irrep_norms(x: Tensor, parts: Sequence[int]) -> Tensor:
    """Lengths of the irreducible parts of fields: what no turn changes.

    Args:
        x: (N, F * size, H, W).
        parts: Sizes of a field's parts, which add up to `size`. The first one is
            invariant by itself and keeps its sign.

    Returns:
        (N, F * parts, H, W), in single precision or better.
    """
    fields = x.unflatten(1, (-1, sum(parts)))
    fields = fields.to(torch.promote_types(x.dtype, torch.float32))
    first, *others = fields.split(list(parts), 2)
    # The length has no gradient at 0.
    lengths = [(part.square().sum(2, keepdim=True) + 1e-12).sqrt() for part in others]
    return torch.cat([first, *lengths], 2).flatten(1, 2)


class IrrepNorms(nn.Module):
    """`irrep_norms`."""

    def __init__(self, parts: Sequence[int]) -> None:
        super().__init__()
        self.parts = list(parts)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return irrep_norms(x, self.parts)


class Fourier(nn.Module):
    """An activation of the values of Fourier series: to values, activation, back.

    Args:
        samples: Values of a field's function.
        size: Coefficients of a field.
        activation: `"relu"` or `"gelu"`.
    """

    to_values: Tensor
    to_coefficients: Tensor

    def __init__(self, samples: int, size: int, activation: str) -> None:
        super().__init__()
        self.register_buffer("to_values", torch.zeros(samples, size))
        self.register_buffer("to_coefficients", torch.zeros(size, samples))
        self.function = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, F * size, H, W) to the same shape."""
        fields = x.unflatten(1, (-1, self.to_values.shape[1])).flatten(3)
        values = self.function(torch.matmul(self.to_values.to(x.dtype), fields))
        back = torch.matmul(self.to_coefficients.to(values.dtype), values)
        coefficients: Tensor = back.flatten(1, 2).unflatten(2, x.shape[2:])
        return coefficients
