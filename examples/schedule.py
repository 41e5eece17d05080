"""How the learning rate moves during a run."""

import math

import torch


def one_cycle(progress: float, warm_up: float) -> tuple[float, float]:
    """Rate relative to its peak, and momentum, at a point of a run.

    The one-cycle policy (Smith and Topin, arXiv:1708.07120) with cosines and the
    numbers of torch's OneCycleLR: from 1/25 up to 1 and down to 4e-6, the momentum from
    0.95 down to 0.85 and back.

    Args:
        progress: From 0 to 1.
        warm_up: Where the peak lies, from 0 to 1.
    """
    up = progress < warm_up
    x = progress / warm_up if up else (progress - warm_up) / max(1 - warm_up, 1e-9)
    mix = (1 + math.cos(math.pi * min(x, 1.0))) / 2  # from 1 to 0
    if up:
        return 1 + (1 / 25 - 1) * mix, 0.85 + 0.1 * mix
    return 4e-6 + (1 - 4e-6) * mix, 0.95 - 0.1 * mix


def set_rate(
    optimizer: torch.optim.Optimizer, progress: float, *, peak: float, warm_up: float
) -> None:
    """Gives an Adam the rate and the momentum of `one_cycle`.

    Args:
        optimizer: Its parameters all get the same.
        progress: From 0 to 1.
        peak: The highest rate.
        warm_up: Where it lies, from 0 to 1.
    """
    rate, momentum = one_cycle(progress, warm_up)
    for group in optimizer.param_groups:
        group["lr"] = rate * peak
        group["betas"] = (momentum, group["betas"][1])
