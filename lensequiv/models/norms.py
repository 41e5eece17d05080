"""Batch normalisation over fields: on one device, and over all processes.

Statistics are taken channel by channel and then joined: of the channels of a field, and
of the processes that train one network together. Mean and variance of equal parts are

    mean = sum_i mean_i / n,    variance = sum_i (variance_i + (mean_i - mean)^2) / n.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = [
    "FieldNorm",
    "SharedNorm",
    "all_sum",
    "by_channel",
    "follow",
    "memory_format",
    "synchronise_batch_norm",
]

_Norm = nn.modules.batchnorm._BatchNorm


def by_channel(x: Tensor) -> bool:
    """Whether fields are normalised by kernels that work channel by channel.

    torch's own batch norm gives every field to one block of threads: eight fields would
    keep 8 of 132 multiprocessors of a GPU busy. The kernels behind `nn.SyncBatchNorm`
    have eight times as many channels to share out, and take either memory format. A
    compiler makes better kernels of torch's own batch norm than both.
    """
    return x.is_cuda and not torch.compiler.is_compiling()


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum over all of them, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.detach().clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total


def all_sum(x: Tensor) -> Tensor:
    """The sum over all processes; gradients flow to each."""
    y: Tensor = _Sum.apply(x)
    return y


def _across(x: Tensor) -> tuple[list[int], list[int]]:
    """The dimensions that are averaged over, and the shape of a value a channel."""
    dims = [i for i in range(x.ndim) if i != 1]
    return dims, [-1 if i == 1 else 1 for i in range(x.ndim)]


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


def memory_format(x: Tensor) -> torch.memory_format:
    """`torch.channels_last` if a tensor lies so in memory and not the ordinary way."""
    last = torch.channels_last
    wide = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=last)
    return last if wide else torch.contiguous_format


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


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


class _FromBatch(_Norm):
    """Batch norm whose statistics may be those of all processes.

    Attributes:
        size: Channels that share statistics, scale and shift.
        shared: Whether all processes do.
    """

    size = 1
    shared = False

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def from_batch(self, x: Tensor) -> Tensor:
        """Normalises (N, fields * size, ...) by this batch, of all processes."""
        y, mean, variance, count = _Normalised.apply(
            x, self.weight, self.bias, self.size, self.eps, self.shared
        )
        with torch.no_grad():
            follow(self, mean, variance * (count / (count - 1)))
        result: Tensor = y
        return result


def follow(norm: Any, mean: Tensor, variance: Tensor) -> None:
    """Moves a norm's running statistics towards those of a batch."""
    norm.num_batches_tracked += 1
    share = norm.momentum
    if share is None:
        share = 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.detach().to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.detach().to(norm.running_var.dtype), share)


class FieldNorm(_FromBatch, nn.BatchNorm3d):
    """Batch normalisation with one mean, variance, scale and shift per field.

    The same as e2cnn's InnerBatchNorm for fields of equal size, on plain tensors and
    without channel indices in the state dict.
    """

    def __init__(self, fields: int, size: int) -> None:
        super().__init__(fields)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (N, fields * size, H, W)."""
        if self.training and (self.shared or by_channel(x)):
            return self.from_batch(x)
        n, _, height, width = x.shape
        fields = x.reshape(n, -1, self.size, height, width)
        return super().forward(fields).reshape(n, -1, height, width)


class SharedNorm(_FromBatch):
    """What `synchronise_batch_norm` puts in the place of torch's batch norms."""

    shared = True

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (N, C, ...); by running statistics in evaluation mode."""
        return self.from_batch(x) if self.training else super().forward(x)


def synchronise_batch_norm(model: nn.Module) -> nn.Module:
    """Lets all processes of a training share the statistics of every batch norm.

    A step of several processes is then that of one process with all their images: by
    itself, each normalises by its own part of the batch. Works on processors (gloo) and
    GPUs (nccl). Call it in every process before the network is wrapped
    (`DistributedDataParallel`, `accelerator.prepare`); without several processes it
    changes nothing. Evaluation, state dicts and files stay as they are; copies and
    pickles are not synchronised.

    Args:
        model: Any network; changed in place.

    Returns:
        The model itself.

    Raises:
        ValueError: A batch norm keeps no running statistics, or has no weights.
    """
    distributed = (
        torch.distributed.is_available() and torch.distributed.is_initialized()
    )
    if not distributed or torch.distributed.get_world_size() == 1:
        return model
    for name, module in list(model.named_modules()):
        if not isinstance(module, _Norm):
            continue
        if module.running_mean is None or module.weight is None:
            raise ValueError(
                f"{name}: {module}; expected batch norms with weights and running "
                "statistics"
            )
        if hasattr(module, "shared"):
            vars(module)["shared"] = True
        else:
            _replace(model, name, module)
    return model


def _replace(model: nn.Module, name: str, old: _Norm) -> None:
    """A `SharedNorm` with the tensors of a batch norm, in its place."""
    momentum: Any = old.momentum
    new = SharedNorm(old.num_features, old.eps, momentum, device="meta")
    new._parameters, new._buffers = old._parameters, old._buffers
    new.train(old.training)
    parent, _, last = name.rpartition(".")
    model.get_submodule(parent)._modules[last] = new
