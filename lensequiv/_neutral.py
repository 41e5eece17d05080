"""A piece of work that torch's global settings do not reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["full_precision", "neutral", "without_tf32"]


@contextmanager
def neutral() -> Iterator[None]:
    """Float32 and the CPU by default, no autocast, no inference mode.

    What is built in inference mode can never be trained; what is expanded under
    autocast keeps bf16's eight bits; e2cnn builds its bases in the default type, on the
    default device. Nothing is touched that is as it should be. The default type is one
    for all threads: where it is not float32, threads that depend on it must wait.

    Leaving inference mode turns gradients on: where none are wanted, `torch.no_grad`
    belongs inside.
    """
    import torch  # here, so that names of models can be listed without it

    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        # Of torch 2.4 `get_default_device` does not know `with torch.device(...)`.
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(full_precision())
        if (dtype := torch.get_default_dtype()) != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """No autocast, on whatever device: for what bf16's eight bits would spoil."""
    import torch

    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def without_tf32() -> Iterator[None]:
    """Float32 products on CUDA with all 24 bits, not the eleven of TF32.

    Torch's own setting lets convolutions drop the others, which moves logits by some
    1e-3 of their scale.
    """
    import torch

    if not torch.cuda.is_initialized():
        yield
        return
    places: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    name: str = "allow_tf32"
    exact: bool | str = False
    try:
        before = [getattr(place, name) for place in places]
    except RuntimeError:  # set by torch's newer names, after which it refuses these
        convolutions: Any = torch.backends.cudnn
        places = (convolutions.conv, torch.backends.cuda.matmul)
        name, exact = "fp32_precision", "ieee"
        before = [getattr(place, name) for place in places]
    try:
        for place in places:
            setattr(place, name, exact)
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            setattr(place, name, value)
