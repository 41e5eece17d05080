"""Batch normalisation over fields: on one device, and over all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lensequiv.models._normalised import normalised

__all__ = [
    "FieldNorm",
    "SharedNorm",
    "all_sum",
    "by_channel",
    "follow",
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
        y, mean, variance, count = normalised(
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
        # No -1, which would be ambiguous in an empty batch.
        fields = x.unflatten(1, (self.num_features, self.size))
        return super().forward(fields).flatten(1, 2)


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
