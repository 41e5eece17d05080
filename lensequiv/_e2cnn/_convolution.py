"""Steerable convolutions whose filters follow their weights."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lensequiv._e2cnn._buffers import forget_buffers
from lensequiv._e2cnn._initial import he_init_std
from lensequiv._e2cnn._mended import FieldType, GeometricTensor, e2cnn, unnamed
from lensequiv._neutral import full_precision, neutral

__all__ = ["R2Conv"]


@dataclass(frozen=True)
class _Kept:
    """Expanded filters, and the values of the weights they were made of."""

    weights: Tensor
    bias: Tensor | None
    filter: Tensor
    expanded_bias: Tensor | None

    def fits(self, weights: Tensor, bias: Tensor | None) -> bool:
        """Whether weights on the processor have these values."""
        return _same(self.weights, weights) and (
            bias is None or (self.bias is not None and _same(self.bias, bias))
        )


def _same(known: Tensor, value: Tensor) -> bool:
    return known.dtype == value.dtype and torch.equal(known, value)


class R2Conv(e2cnn.nn.R2Conv):  # type: ignore[misc]
    """e2cnn's steerable convolution with the traps of this module's docstring mended.

    It answers as any torch layer does: after its weights, whatever changed them, and
    with gradients to them when these are wanted, in training and in evaluation mode
    alike. Its parameters are `weights` (and `bias`); filters are neither parameters nor
    buffers. Construction takes e2cnn's arguments; `initialize=False` leaves the weights
    zero, for loading.
    """

    _kept: _Kept | None = None

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        *,
        initialize: bool = True,
        **kwargs: Any,
    ) -> None:
        token = unnamed.set(True)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="indexing with dtype torch.uint8"
                )
                super().__init__(
                    in_type, out_type, kernel_size, initialize=False, **kwargs
                )
        finally:
            unnamed.reset(token)
        self._own_basis()
        forget_buffers(self, self._basisexpansion)
        if initialize:
            with torch.no_grad():
                std = he_init_std(self.basisexpansion)
                self.weights.copy_(std * torch.randn_like(self.weights))

    def _own_basis(self) -> None:
        """Replaces the basis tensors that e2cnn shares between all models.

        Its positions of channels become whole numbers: e2cnn keeps tensors.
        """
        expansion = self._basisexpansion
        for name, positions in vars(expansion).items():
            if name.startswith(("in_indices_", "out_indices_")):
                setattr(expansion, name, [int(position) for position in positions])
        for name, shared in list(expansion._modules.items()):
            own = copy.copy(shared)
            own._buffers = {
                key: value.to(torch.get_default_dtype(), copy=True)
                for key, value in shared._buffers.items()
            }
            forget_buffers(own)
            expansion._modules[name] = own

    def filters(self) -> tuple[Tensor, Tensor | None]:
        """The expanded filter (C_out, C_in, k, k) and bias (C_out,) or None.

        They carry gradients where torch records them and a weight requires them.
        Otherwise, on a processor, the expanded filter is kept, and used for as long as
        the weights hold the values it was made of. It is the values that are compared:
        no version counter notices `weights.data.mul_()`, nor what another process
        writes to shared memory. On other devices the comparison would wait for the
        device; expanding does not.
        """
        if not self._may_keep():
            with full_precision():
                filter_, bias = self.expand_parameters()
            return filter_, bias
        kept, parameters = self._kept, self._parameters
        if kept is None or not kept.fits(parameters["weights"], parameters.get("bias")):
            # One assignment: other threads see the old filters or the new ones.
            self._kept = kept = self._expanded()
        return kept.filter, kept.expanded_bias

    def _may_keep(self) -> bool:
        """Whether weights are plain ones whose values can be looked at right now.

        They are not while a compiler or an exporter follows, nor where something stands
        in for them: `functional_call`, a parametrisation, the replicas of
        `DataParallel`, tensors without values.
        """
        if torch.compiler.is_compiling():
            return False
        weights = self._parameters.get("weights")
        bias = self._parameters.get("bias")
        if bias is None:
            return self._plain(weights) and self.bias is None
        return self._plain(weights) and self._plain(bias)

    @staticmethod
    def _plain(value: Tensor | None) -> bool:
        return (
            type(value) is torch.nn.Parameter
            and value.is_cpu
            and not (value.requires_grad and torch.is_grad_enabled())
        )

    def _expanded(self) -> _Kept:
        """The filters, free of autocast, inference mode and gradients."""
        with neutral(), torch.no_grad():
            weights, bias = self.weights.clone(), self.bias
            filter_, expanded_bias = self.expand_parameters()
            known_bias = None if bias is None else bias.clone()
        return _Kept(weights, known_bias, filter_, expanded_bias)

    @property
    def filter(self) -> Tensor:
        """The expanded filter without gradients, under the name that e2cnn gives it."""
        with torch.no_grad():
            return self.filters()[0]

    @property
    def expanded_bias(self) -> Tensor | None:
        """The expanded bias without gradients, under the name that e2cnn gives it."""
        with torch.no_grad():
            return self.filters()[1]

    @expanded_bias.setter
    def expanded_bias(self, value: None) -> None:
        """Takes the None that e2cnn sets where there is no bias."""

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Convolves fields of `in_type` to fields of `out_type`."""
        if input.type != self.in_type:
            raise ValueError(f"input of type {input.type}; expected {self.in_type}")
        filter_, bias = self.filters()
        x, padding = input.tensor, self.padding
        if self.padding_mode != "zeros":
            around = self._reversed_padding_repeated_twice
            x, padding = F.pad(x, around, self.padding_mode), 0
        y = F.conv2d(x, filter_, bias, self.stride, padding, self.dilation, self.groups)
        return GeometricTensor(y, self.out_type)

    def train(self, mode: bool = True) -> R2Conv:
        """Sets the mode, which the filters do not depend on."""
        torch.nn.Module.train(self, mode)
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> R2Conv:
        """Moves or casts, and keeps no filters of the old device."""
        self._kept = None
        applied: R2Conv = super()._apply(*args, **kwargs)
        return applied

    def register_buffer(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Registers all buffers but the filters, which would depend on the mode.

        Whoever averages two models pairs their buffers, of which neither may have more.
        """
        if name not in ("filter", "expanded_bias"):
            super().register_buffer(name, *args, **kwargs)
