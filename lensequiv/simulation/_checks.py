"""Checks of what recipes are given."""

from __future__ import annotations

import math

import torch

from lensequiv._devices import resolve_device

__all__ = ["check_range", "rendering_device"]


def rendering_device(device: str | torch.device) -> torch.device:
    """The device that is meant, if lenses can be rendered there.

    Args:
        device: See `resolve_device`; `"auto"` is CUDA where there is one, else the CPU.

    Raises:
        ValueError: There is no such device, or it has no float64.
    """
    found = resolve_device(device)
    if found.type == "mps":
        if device == "auto":
            return torch.device("cpu")
        raise ValueError(
            "device='mps' has no float64, in which rays next to a mass are traced; "
            "expected 'cpu' or 'cuda'"
        )
    return found


def check_range(
    name: str, bounds: tuple[float, float], lowest: float, highest: float
) -> None:
    """Requires finite bounds in order, within limits.

    Raises:
        ValueError: They are not; the message names them.
    """
    good = (
        len(bounds) == 2
        and all(math.isfinite(bound) for bound in bounds)
        and lowest <= bounds[0] <= bounds[1] <= highest
    )
    if not good:
        raise ValueError(
            f"{name}={bounds}: expected {lowest:g} <= low <= high <= {highest:g}"
        )
