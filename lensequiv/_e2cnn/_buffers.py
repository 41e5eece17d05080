"""What of a module is not saved."""

from __future__ import annotations

import torch

__all__ = ["forget_buffers"]


def forget_buffers(*modules: torch.nn.Module) -> None:
    """Keeps modules' own buffers, which can be recomputed, out of the state dict."""
    for module in modules:
        module._non_persistent_buffers_set = set(module._buffers)
