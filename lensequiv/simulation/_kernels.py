"""The sum over point masses as one kernel, on GPUs that Triton knows."""

from __future__ import annotations

import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["has_kernels", "sum_masses"]

_COLUMNS, _ROWS = 64, 16  # of rays that one program works on


@cache
def has_kernels(device: torch.device) -> bool:
    """Whether a device is a GPU that Triton can build kernels for, here and now.

    Besides the card and Triton that takes a C compiler and Python's headers, with which
    Triton builds what launches a kernel.
    """
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    if torch.cuda.get_device_capability(device) < (7, 0) or not find_spec("triton"):
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    return bool(compiler and header.is_file())


def sum_masses(
    dx: Tensor, dy: Tensor, strength: Tensor, softening: float
) -> tuple[Tensor, Tensor]:
    """The deflection by all point masses of each lens, in one pass over the rays.

    One mass after the other, a GPU would spend its time on reading and writing sums.

    Args:
        dx: (B, K, n) float32 distances of the columns of rays from the masses.
        dy: (B, K, n) float32, of the rows.
        strength: (B, K) float32 squared Einstein radii.
        softening: Added to squared distances.

    Returns:
        x and y components, (B, n, n) float32 each.
    """
    from lensequiv.simulation._triton import add_up  # needs Triton

    lenses, masses, n = dx.shape
    total_x = dx.new_empty(lenses, n, n)
    total_y = torch.empty_like(total_x)
    grid = lenses, -(-n // _COLUMNS), -(-n // _ROWS)
    with torch.cuda.device(dx.device):  # Triton launches on a thread's current one
        add_up[grid](
            *(dx.contiguous(), dy.contiguous(), strength.contiguous()),
            *(total_x, total_y, masses, n, softening),
            COLUMNS=_COLUMNS,
            ROWS=_ROWS,
        )
    return total_x, total_y
