"""Filters and weights over the pixels of a map: blurs, local contrast, discs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def banded_matrix(kernel: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """A filter along one axis, with zeros around the map, as a matrix.

    Args:
        kernel: (taps,).
        size: Side of the map.
        stride: Every how many pixels the result is wanted.
        padding: Zeros before and after the map.

    Returns:
        (result, size) in the dtype and on the device of `kernel`.
    """
    taps, device = len(kernel), kernel.device
    count = (size + 2 * padding - taps) // stride + 1
    first = torch.arange(count, device=device) * stride - padding
    tap = torch.arange(size, device=device) - first[:, None]
    weight = kernel[tap.clamp(0, taps - 1)]
    return torch.where((tap >= 0) & (tap < taps), weight, torch.zeros_like(weight))


def gaussian_kernel(sigma: float, radius: int) -> Tensor:
    """A Gaussian of sum 1.

    Args:
        sigma: Width in pixels.
        radius: Where it is cut, in pixels.

    Returns:
        (2 radius + 1,) float64.
    """
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    return kernel / kernel.sum()


def as_products(x: Tensor, taps: int) -> bool:
    """Whether a separable filter is computed as two products with banded matrices.

    They are several times as fast as a depthwise convolution on processors
    (`benchmarks/layers.py`), and up to three times on a GPU, but for memory in
    channels-last order, where a depthwise convolution takes half of their time
    (`benchmarks/gpu.py --profile`). Filters of many taps, of which there is one, on the
    image, are always products: a convolution of a single channel is no depthwise one
    and would be rounded to TF32.
    """
    if x.device.type == "cpu" or taps > 7:
        return True
    return not x.is_contiguous(memory_format=torch.channels_last)


def filtered(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    """A separable filter as a depthwise convolution.

    Args:
        x: (N, C, H, W).
        kernel: (taps,) along either axis.
        stride: Every how many pixels the result is wanted.
        padding: Zeros around the map.

    Returns:
        (N, C, h, w).
    """
    channels = x.shape[1]
    weight = torch.outer(kernel, kernel).to(x.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(x, weight, None, stride, padding, groups=channels)


class Blur(nn.Module):
    """A separable filter with zero padding on every channel; see `as_products`.

    Args:
        kernel: Along either axis.
        stride: Every how many pixels the result is wanted.
        padding: Zeros around the map.
    """

    kernel: Tensor

    def __init__(self, kernel: Sequence[float], stride: int, padding: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor(kernel), persistent=False)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, h, w)."""
        if not as_products(x, len(self.kernel)):
            return filtered(x, self.kernel, self.stride, self.padding)
        rows, columns = (
            banded_matrix(self.kernel, size, self.stride, self.padding).to(x.dtype)
            for size in x.shape[2:]
        )
        return torch.matmul(torch.matmul(rows, x), columns.T)


def disc_weights(height: int, width: int, edge: float, like: Tensor) -> Tensor:
    """1 within the largest disc of a map, 0 beyond, with a linear edge.

    Args:
        height: Of the map, in pixels.
        width: Of the map, in pixels.
        edge: Width of the edge, in pixels.
        like: Of the result's dtype and device.

    Returns:
        (height, width).
    """
    y, x = (
        torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
        for side in (height, width)
    )
    distance = (y.square()[:, None] + x.square()).sqrt()
    return ((min(height, width) / 2 - distance) / edge).clamp(0, 1)


def local_contrast(
    x: Tensor,
    blur: Callable[[Tensor], Tensor],
    floor: float,
    edge: float | None,
    own_noise: bool = False,
) -> Tensor:
    """(x - B) / sqrt(B + floor); see `Contrast`."""
    if edge is None:
        smooth = blur(x)
        contrast = (x - smooth) * torch.rsqrt(smooth.clamp_min(0) + floor)
        return in_noise_units(contrast) if own_noise else contrast
    weights = disc_weights(x.shape[2], x.shape[3], edge, x)
    # A mean over the pixels that count, also where the blur reaches beyond them.
    share = blur(weights[None, None]).clamp_min(1e-3)
    smooth = blur(x * weights) / share
    contrast = weights * (x - smooth) * torch.rsqrt(smooth.clamp_min(0) + floor)
    return in_noise_units(contrast, weights) if own_noise else contrast


_LEAST_NOISE = 1e-4  # of contrasts: below it lies rounding
_GAUSSIAN = 0.67600  # (E sqrt|z|)^2 of a standard normal z: sqrt(2) Gamma(3/4)^2 / pi
_LINEAR = 10.0  # up to about so many times the noise, contrasts stay as they are


def in_noise_units(contrast: Tensor, weights: Tensor | None = None) -> Tensor:
    """Contrasts in units of the image's own noise, compressed far above it.

    The noise is what a Gaussian would have of the same mean of sqrt|contrast|, which
    the few pixels of bright arcs or a galaxy's core move little, and which needs no
    sorting. Then 10 asinh(z / 10): what stands out by hundreds is still there, but does
    not drown the rest. Neither depends on how an image is turned.

    Args:
        contrast: (N, C, H, W).
        weights: (H, W), what the contrasts were multiplied by; None: by 1.

    Returns:
        (N, C, H, W).
    """
    # The small number keeps the gradient finite where a contrast is zero.
    roots = (contrast.square() + 1e-16).sqrt().sqrt()
    root = roots.mean((2, 3), keepdim=True)
    if weights is not None:
        root = root / weights.sqrt().mean()
    noise = root.square() / _GAUSSIAN + _LEAST_NOISE
    return _LINEAR * torch.asinh(contrast / (_LINEAR * noise))


class Contrast(nn.Module):
    """Local contrast: (x - B) / sqrt(B + floor), B the blurred image.

    Args:
        kernel: Of the blur, along either axis.
        floor: See the formula.
        edge: If not None: only the pixels within `disc_weights` of that edge count.
        own_noise: Whether the result is in units of the image's own noise; see
            `in_noise_units`.
    """

    def __init__(
        self,
        kernel: Sequence[float],
        floor: float,
        edge: float | None = None,
        own_noise: bool = False,
    ) -> None:
        super().__init__()
        self.blur = Blur(kernel, 1, len(kernel) // 2)
        self.floor, self.edge, self.own_noise = floor, edge, own_noise

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        return local_contrast(x, self.blur, self.floor, self.edge, self.own_noise)


class Mask(nn.Module):
    """Multiplies by a fixed mask: `size` the side of the map."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1, size, size))

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, size, size) to the same shape."""
        return x * self.mask
