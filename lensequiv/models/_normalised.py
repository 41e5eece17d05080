"""Normalising fields by a batch, forwards and backwards.

Statistics are taken channel by channel and then joined: of the channels of a field, and
of the processes that train one network together. Mean and variance of equal parts are

    mean = sum_i mean_i / n,    variance = sum_i (variance_i + (mean_i - mean)^2) / n.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["memory_format", "normalised"]


def memory_format(x: Tensor) -> torch.memory_format:
    """`torch.channels_last` if a tensor lies so in memory and not the ordinary way."""
    last = torch.channels_last
    wide = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=last)
    return last if wide else torch.contiguous_format


def normalised(
    x: Tensor, weight: Tensor, bias: Tensor, size: int, eps: float, shared: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fields of `size` channels, normalised by their mean and variance in this batch.

    Args:
        x: (N, fields * size, ...).
        weight: (fields,), the scale.
        bias: (fields,), the shift.
        size: Channels of a field.
        eps: Added to the variance.
        shared: Whether the batch is that of all processes.

    Returns:
        The result in the type and memory format of `x`; mean, variance and number of
        values of each field, without gradients.
    """
    found: tuple[Tensor, Tensor, Tensor, Tensor] = _Normalised.apply(
        x, weight, bias, size, eps, shared
    )
    return found


class _Normalised(torch.autograd.Function):
    """Normalises fields of `size` channels by statistics of this batch.

    Returns the result, and mean, variance and number of values of each field.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        size: int,
        eps: float,
        shared: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.size, ctx.shared = size, shared
        ctx.ways = ways = _Kernels if x.is_cuda else _Formulas
        ctx.format = memory_format(x)
        x = x.contiguous(memory_format=ctx.format)
        means, variances = ways.measure(x, eps)
        means, variances = means.view(-1, size), variances.view(-1, size)
        mean = means.mean(1)
        variance = (variances + (means - mean[:, None]).square()).mean(1)
        count = mean.new_full((), x.numel() / len(mean))
        if shared:
            mean, variance, count = _joined(mean, variance, count)
        rate = torch.rsqrt(variance + eps)
        wide = [t.to(mean.dtype).repeat_interleave(size) for t in (weight, bias)]
        mean_c, rate_c = (t.repeat_interleave(size) for t in (mean, rate))
        ctx.save_for_backward(x, wide[0], mean_c, rate_c, count)
        ctx.mark_non_differentiable(mean, variance, count)
        y = ways.normalise(x, wide[0], wide[1], mean_c, rate_c)
        return y, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rate, count = ctx.saved_tensors
        grad = gradients[0].contiguous(memory_format=ctx.format)
        sums = ctx.ways.sums(grad, x, mean, rate, weight)
        both = torch.stack([t.view(-1, ctx.size).sum(1) for t in sums])
        # Of the scale and the shift, of this process alone, as of all other weights.
        by_weight = both[1] * rate.view(-1, ctx.size)[:, 0]
        by_bias = both[0].clone()
        if ctx.shared:
            torch.distributed.all_reduce(both)
        repeated = both.repeat_interleave(ctx.size, 1)
        found = ctx.ways.gradient(
            grad, x, mean, rate, weight, (repeated[0], repeated[1]), count
        )
        return found, by_weight, by_bias, None, None, None


def _joined(
    mean: Tensor, variance: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number of values of all processes."""
    own = torch.cat([mean, variance, count.view(1)])
    parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, own)
    every = torch.stack(parts)
    means, variances = every[:, : len(mean)], every[:, len(mean) : -1]
    total = every[:, -1].sum()
    share = every[:, -1:] / total
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    return mean, variance, total


class _Kernels:
    """What is done channel by channel, by torch's kernels for GPUs."""

    @staticmethod
    def measure(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        mean, rate = torch.batch_norm_stats(x, eps)
        return mean, (rate.square().reciprocal() - eps).clamp_min(0)

    @staticmethod
    def normalise(
        x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rate: Tensor
    ) -> Tensor:
        return torch.batch_norm_elemt(x, weight, bias, mean, rate, 0.0)

    @staticmethod
    def sums(
        grad: Tensor, x: Tensor, mean: Tensor, rate: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        found = torch.batch_norm_backward_reduce(
            grad, x, mean, rate, weight, True, False, False
        )
        return found[0], found[1]

    @staticmethod
    def gradient(
        grad: Tensor,
        x: Tensor,
        mean: Tensor,
        rate: Tensor,
        weight: Tensor,
        sums: tuple[Tensor, Tensor],
        count: Tensor,
    ) -> Tensor:
        return torch.batch_norm_backward_elemt(
            grad, x, mean, rate, weight, *sums, count.to(torch.int32).view(1)
        )


class _Formulas:
    """The same on any device, in single precision or better."""

    @staticmethod
    def measure(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(_wide(x), _across(x)[0], correction=0)
        return mean, variance

    @staticmethod
    def normalise(
        x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rate: Tensor
    ) -> Tensor:
        shape, scale = _across(x)[1], weight * rate
        shift = bias - mean * scale
        return torch.addcmul(shift.view(shape), _wide(x), scale.view(shape)).to(x.dtype)

    @staticmethod
    def sums(
        grad: Tensor, x: Tensor, mean: Tensor, rate: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        dims, shape = _across(x)
        grad, away = _wide(grad), _wide(x) - mean.view(shape)
        return grad.sum(dims), (grad * away).sum(dims)

    @staticmethod
    def gradient(
        grad: Tensor,
        x: Tensor,
        mean: Tensor,
        rate: Tensor,
        weight: Tensor,
        sums: tuple[Tensor, Tensor],
        count: Tensor,
    ) -> Tensor:
        shape = _across(x)[1]
        slope = rate.square() * sums[1] / count
        offset = sums[0] / count - mean * slope
        inner = _wide(grad) - offset.view(shape) - _wide(x) * slope.view(shape)
        return (inner * (weight * rate).view(shape)).to(x.dtype)


def _across(x: Tensor) -> tuple[list[int], list[int]]:
    """The dimensions that are averaged over, and the shape of a value a channel."""
    dims = [i for i in range(x.ndim) if i != 1]
    return dims, [-1 if i == 1 else 1 for i in range(x.ndim)]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
