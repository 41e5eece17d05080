"""Layers without weights, and batch norm: what can be recomputed is not saved."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lensequiv._e2cnn._buffers import forget_buffers
from lensequiv._e2cnn._mended import FieldType, GeometricTensor, e2cnn

__all__ = [
    "GroupPooling",
    "InnerBatchNorm",
    "MaskModule",
    "PointwiseAvgPoolAntialiased",
]


class InnerBatchNorm(e2cnn.nn.InnerBatchNorm):  # type: ignore[misc]
    """e2cnn's for fields of one size, without its channel indices in the state dict.

    e2cnn's own slices by tensors, for which a GPU has to wait, and copies its result.
    """

    def __init__(self, in_type: FieldType, **kwargs: Any) -> None:
        super().__init__(in_type, **kwargs)
        forget_buffers(self)

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Normalises every field by the mean and variance of all its channels."""
        n, _, height, width = input.tensor.shape
        ((size, _),) = self._contiguous.items()
        fields = input.tensor.reshape(n, -1, size, height, width)
        normed: Tensor = self._modules[f"batch_norm_[{size}]"](fields)
        return GeometricTensor(normed.view(n, -1, height, width), self.out_type)


class PointwiseAvgPoolAntialiased(
    e2cnn.nn.PointwiseAvgPoolAntialiased  # type: ignore[misc]
):
    """e2cnn's, without its fixed filter in the state dict."""

    def __init__(self, in_type: FieldType, sigma: float, **kwargs: Any) -> None:
        super().__init__(in_type, sigma, **kwargs)
        forget_buffers(self)


class GroupPooling(e2cnn.nn.GroupPooling):  # type: ignore[misc]
    """e2cnn's for fields of one size, without its channel indices in the state dict.

    e2cnn's own makes float32 of float64.
    """

    def __init__(self, in_type: FieldType) -> None:
        super().__init__(in_type)
        forget_buffers(self)

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """The largest value over the group, of each field."""
        n, _, height, width = input.tensor.shape
        fields = input.tensor.view(n, len(self.in_type), -1, height, width)
        return GeometricTensor(fields.amax(2), self.out_type)


class MaskModule(e2cnn.nn.MaskModule):  # type: ignore[misc]
    """e2cnn's, its mask a buffer outside the state dict instead of a parameter."""

    def __init__(self, in_type: FieldType, size: int, margin: float) -> None:
        super().__init__(in_type, size, margin=margin)
        mask = self._parameters.pop("mask")
        self.register_buffer("mask", mask.data, persistent=False)
