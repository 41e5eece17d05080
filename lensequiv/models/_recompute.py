"""Activation checkpointing: forget a layer's activations, recompute them going back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["recomputed"]

T = TypeVar("T")


def recomputed(layer: nn.Module, x: T) -> T:
    """`layer(x)`, of which only the input is kept for the backward pass.

    Running statistics of batch norms are updated once, in the forward pass: the second
    pass normalises by the same batch and would count it twice.

    Args:
        layer: From a tensor (or a field) to another.
        x: Its input.

    Returns:
        Its output.
    """
    run: Callable[..., T] = checkpoint
    return run(
        layer,
        x,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _statistics_kept(layer)),
    )


@contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    norms = [
        module
        for module in layer.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.track_running_stats
    ]
    # Batch norm keeps its statistics for the backward pass: they must still be passed.
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
