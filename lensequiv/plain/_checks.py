"""What a batch has to be before a network takes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def check_input(
    name: str, x: Tensor, channels: int | None, sides: Sequence[int], advice: str
) -> None:
    """Requires a batch of square floating-point images of a size the network takes.

    Args:
        name: Of the network, for the message.
        x: The batch.
        channels: Of the input; None if unknown.
        sides: Valid sides in pixels, in equal steps; empty if unknown.
        advice: What to do with raw images.

    Raises:
        TypeError: `x` is no tensor, or one of whole numbers.
        ValueError: Its shape is not (N, channels, side, side).
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: input of type {type(x).__name__}; {advice}")
    if not x.is_floating_point():
        raise TypeError(f"{name}: input of {x.dtype}, so not preprocessed; {advice}")
    if x.ndim != 4 or channels not in (None, x.shape[1]):
        wanted = "C" if channels is None else channels
        raise ValueError(
            f"{name}: input of shape {tuple(x.shape)}; {advice}; expected "
            f"(N, {wanted}, H, W)"
        )
    if not sides:
        return
    height, width = x.shape[-2:]
    low, high = sides[0], sides[-1]
    step = sides[1] - low if len(sides) > 1 else 1
    # As arithmetic, which compilers and exporters follow for sizes still unknown.
    if height == width and low <= height <= high and (height - low) % step == 0:
        return
    few = sides if len(sides) <= 3 else (low, sides[1], "...", high)
    below = [side for side in sides if side <= height][-1:]
    above = [side for side in sides if side >= height][:1]
    nearest = " or ".join(map(str, sorted({*below, *above})))
    raise ValueError(
        f"{name}: input of {height} x {width} pixels; {advice}; expected a square with "
        f"a side of {', '.join(map(str, few))}; nearest to {height}: {nearest}"
    )


def check_device(name: str, network: nn.Module, x: Tensor) -> None:
    """Requires a batch on the device of the network's weights.

    Args:
        name: Of the network, for the message.
        network: Whose first parameter says where it is.
        x: The batch.

    Raises:
        ValueError: It is on another; the message names both.
    """
    if torch.compiler.is_compiling():
        return
    weight = next(network.parameters(), None)  # copies of DataParallel have none
    if weight is not None and weight.device != x.device:
        raise ValueError(
            f"{name} is on {weight.device}, the images are on {x.device}; expected one "
            f"device: x.to({str(weight.device)!r}), or model.to({str(x.device)!r})"
        )
