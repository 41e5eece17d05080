"""Steerable layers on plain tensors.

A feature map of F regular fields of a group with G elements is a tensor
(N, F * G, H, W); channel f * G + g holds field f's response at group element g. The
layers keep it in contiguous (N, C, H, W) order: on processors convolutions lose nothing
by it, and batch normalisation over fields is a view, where channels-last memory makes
it nine times as slow (`benchmarks/layers.py`). On GPUs, whose convolutions work in
channels-last memory, `model.to(memory_format=torch.channels_last)` chooses it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lensequiv._bases import make_isotropic
from lensequiv._e2cnn import FieldType, R2Conv
from lensequiv._neutral import neutral
from lensequiv.models._normalised import memory_format
from lensequiv.models.norms import FieldNorm
from lensequiv.plain import (
    as_products,
    banded_matrix,
    filtered,
    gaussian_kernel,
    local_contrast,
)

__all__ = ["AntialiasedPool", "FieldNorm", "LocalContrast", "SteerableConv"]


class SteerableConv(R2Conv):
    """A steerable convolution from plain tensor to plain tensor.

    The input is padded by half the kernel, so odd maps keep their 90-degree grid.

    Args:
        in_type: Fields of the input.
        out_type: Fields of the output.
        kernel_size: Side of the kernels in pixels.
        stride: Every how many pixels the result is wanted.
        isotropic: Whether the kernels are given the right low-frequency limit; see
            `lensequiv._bases`. False: as e2cnn samples them.
        **kwargs: See `lensequiv._e2cnn.R2Conv`.

    Raises:
        ValueError: `kernel_size` is even.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        stride: int = 1,
        isotropic: bool = False,
        **kwargs: Any,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: expected an odd number")
        super().__init__(
            in_type,
            out_type,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
            **kwargs,
        )
        if isotropic:
            make_isotropic(self)
        self._memory_format = torch.contiguous_format

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C_in, H, W) to (N, C_out, ceil(H / stride), ceil(W / stride))."""
        weight = self.filters()[0].contiguous(memory_format=self._memory_format)
        return F.conv2d(x, weight, None, self.stride, self.padding)

    def _apply(self, *args: Any, **kwargs: Any) -> SteerableConv:
        """Moves or casts, and takes the memory format that its bases then have."""
        super()._apply(*args, **kwargs)
        bases = [m.sampled_basis for m in self._basisexpansion._modules.values()]
        wide = any(memory_format(basis) == torch.channels_last for basis in bases)
        self._memory_format = torch.channels_last if wide else torch.contiguous_format
        return self


class _Separable(nn.Module):
    """A separable filter with zero padding; see `lensequiv.plain.as_products`.

    Banded matrices are made for each map size on first use.
    """

    taps: Tensor

    def __init__(self, kernel: Tensor, stride: int) -> None:
        super().__init__()
        self.kernel = tuple(kernel.tolist())
        self.register_buffer("taps", kernel.float(), persistent=False)
        self.stride = stride
        self._matrices: dict[Any, Tensor] = {}

    def _apply(self, *args: Any, **kwargs: Any) -> _Separable:
        """Moves or casts, and keeps no matrices on the old device.

        Nothing is let go where nothing moves: a CUDA graph may read these matrices.
        """
        before = self.taps
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        if (self.taps.device, self.taps.dtype) != (before.device, before.dtype):
            self._matrices = {}
        return self

    def _matrix(self, size: int, like: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # the graph makes its own
            return self._made(size, like)
        key = (size, like.device, like.dtype)
        if key not in self._matrices:
            with neutral():  # they may serve training later
                self._matrices[key] = self._made(size, like)
        return self._matrices[key]

    def _made(self, size: int, like: Tensor) -> Tensor:
        kernel = torch.tensor(self.kernel, dtype=torch.float64, device="cpu")
        matrix = banded_matrix(kernel, size, self.stride, len(kernel) // 2)
        return matrix.to(like.device, like.dtype, copy=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        if not as_products(x, len(self.kernel)):
            return filtered(x, self.taps, self.stride, len(self.kernel) // 2)
        rows, columns = self._matrix(x.shape[2], x), self._matrix(x.shape[3], x)
        return torch.matmul(torch.matmul(rows, x), columns.T)


class AntialiasedPool(_Separable):
    """Blur with a Gaussian, keep every other pixel (Zhang, arXiv:1904.11486).

    Equal to e2cnn's PointwiseAvgPoolAntialiased(sigma, stride=2).

    Args:
        sigma: Width of the Gaussian in pixels; cut at three sigma.
    """

    def __init__(self, sigma: float = 0.66) -> None:
        super().__init__(gaussian_kernel(sigma, round(3 * sigma)), 2)


class LocalContrast(nn.Module):
    """What stands out from its surroundings, in units of the expected noise.

    (x - B) / sqrt(B + floor) with B the image blurred by a Gaussian. Photon noise is
    proportional to the square root of the brightness, so arcs and their gaps get equal
    noise; and the ring itself, which tells nothing about substructure, is taken away.
    The filter is isotropic: rotating the image rotates the result.

    Args:
        sigma: Width of the Gaussian in pixels.
        floor: Brightness of the sky relative to the image's peak.
        edge: If not None, pixels beyond the largest disc of the image count nowhere and
            the result is 0 there; the disc's edge falls off linearly over so many
            pixels. None: the whole square, and zeros around it.
        own_noise: Whether the result is given in units of the noise that the image
            itself has, and compressed far above it (`lensequiv.plain.in_noise_units`).
    """

    def __init__(
        self,
        sigma: float,
        floor: float,
        edge: float | None = None,
        own_noise: bool = False,
    ) -> None:
        super().__init__()
        self.blur = _Separable(gaussian_kernel(sigma, math.ceil(3 * sigma)), 1)
        self.floor, self.edge, self.own_noise = floor, edge, own_noise

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) of sky 0 and peak 1 to the same shape."""
        return local_contrast(x, self.blur, self.floor, self.edge, self.own_noise)
