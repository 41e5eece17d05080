"""Arithmetic on whole images as single kernels, on GPUs that can have them compiled."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["compiles_on", "fused"]

F = TypeVar("F", bound=Callable[..., Any])


def fused(function: F) -> F:
    """Compiles a function of tensors where that is possible, as far as it is called.

    Operation by operation a GPU spends its time on moving intermediate results. A
    compiled function keeps them in registers. Elsewhere the function runs as it is.

    Args:
        function: Its first argument is a tensor, whose device decides. Numbers that
            differ from recipe to recipe should be tensors: each value of another
            number is compiled for itself.
    """
    compiled: Callable[..., Any] | None = None

    @wraps(function)
    def call(first: Tensor, *args: Any) -> Any:
        nonlocal compiled
        if not compiles_on(first.device):
            return function(first, *args)
        if compiled is None:
            compiled = torch.compile(function, dynamic=True)
        return compiled(first, *args)

    return call  # type: ignore[return-value]


@cache
def compiles_on(device: torch.device) -> bool:
    """Whether `torch.compile` has all it needs for a device: only CUDA is asked.

    That is a card that Triton knows, Triton, and what Triton builds its launchers with:
    a C compiler and Python's headers.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (7, 0):
        return False
    from torch._dynamo.eval_frame import is_dynamo_supported

    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    return bool(
        find_spec("triton") and compiler and header.is_file() and is_dynamo_supported()
    )
