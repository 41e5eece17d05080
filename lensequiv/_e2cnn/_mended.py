"""e2cnn, imported without what it seldom needs, and mended where NumPy 2 broke it."""

from __future__ import annotations

import importlib
import math
import sys
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import scipy
import torch

__all__ = [
    "FieldType",
    "GeometricTensor",
    "ReLU",
    "SequentialModule",
    "directsum",
    "e2cnn",
    "unnamed",
]


class _Stats(types.ModuleType):
    """scipy.stats as e2cnn keeps it, which is imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("scipy.stats"), name)


@contextmanager
def _deferred_imports() -> Iterator[None]:
    """Postpones scipy.stats and sympy, which cost more than e2cnn itself.

    e2cnn gets something else in place of scipy.stats. (A lazy module in `sys.modules`
    would be loaded by the first one that looks at all modules, as astropy does.) sympy
    is hidden while e2cnn looks for it; `_mend_diffops` gives it back.
    """
    hide_sympy = "sympy" not in sys.modules
    stand_in = None if "scipy.stats" in sys.modules else _Stats("scipy.stats")
    if stand_in is not None:
        scipy.stats = stand_in
    if hide_sympy:
        sys.modules["sympy"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide_sympy:
            del sys.modules["sympy"]
        if stand_in is not None and scipy.stats is stand_in:
            del scipy.stats


with _deferred_imports():
    import e2cnn.diffops.utils
    import e2cnn.gspaces
    import e2cnn.kernels.irreps_basis
    import e2cnn.kernels.utils
    import e2cnn.nn
    from e2cnn.group import directsum
    from e2cnn.nn import (
        FieldType,
        GeometricTensor,
        ReLU,
        SequentialModule,
    )


def _mend_diffops() -> None:
    utils = e2cnn.diffops.utils
    if utils._SYMPY_AVAILABLE:
        return

    def finite_diff_weights(*args: Any, **kwargs: Any) -> Any:
        from sympy.calculus.finite_diff import finite_diff_weights as weights

        return weights(*args, **kwargs)

    utils.finite_diff_weights = finite_diff_weights
    utils._SYMPY_AVAILABLE = True


def _mend_numpy2() -> None:
    class Numpy(types.ModuleType):
        """NumPy as `e2cnn.kernels.utils` expects it: copy=False may copy."""

        @staticmethod
        def array(value: Any, copy: bool = True) -> np.ndarray[Any, Any]:
            return np.array(value) if copy else np.asarray(value)

        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

    e2cnn.kernels.utils.np = Numpy("numpy")

    def basis_hash(self: Any) -> int:
        total = hash(self.in_irrep) + hash(self.out_irrep)
        for part in (self.mu, self.gamma):
            total += hash(part.tobytes() if isinstance(part, np.ndarray) else part)
        return total

    bases = e2cnn.kernels.irreps_basis
    for cls in (
        bases.R2FlipsSolution,
        bases.R2DiscreteRotationsSolution,
        bases.R2ContinuousRotationsSolution,
        bases.R2FlipsDiscreteRotationsSolution,
        bases.R2FlipsContinuousRotationsSolution,
    ):
        source_names = cls.__hash__.__code__.co_names
        if "tostring" in source_names:
            cls.__hash__ = basis_hash


def _mend_texts() -> None:
    """Keeps the text of a representation, whose hash it is.

    e2cnn writes it anew, from the sum of a matrix, whenever it looks for a basis:
    hundreds of times for each convolution that is built.
    """
    representation = e2cnn.group.Representation
    written = representation.__repr__

    def text(self: Any) -> str:
        if "_text" not in self.__dict__:
            self.__dict__["_text"] = written(self)
        kept: str = self.__dict__["_text"]
        return kept

    representation.__repr__ = text


class _Unnamed:
    """As many names of weights as a basis needs, none of them written."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return iter(())


unnamed = ContextVar("unnamed", default=False)
"""Whether layers that are made right now give their weights no names."""


def _mend_names() -> None:
    blocks = e2cnn.nn.modules.r2_conv.basisexpansion_blocks
    name_all = blocks._compute_attrs_and_ids

    def names(in_type: Any, out_type: Any, modules: dict[Any, Any]) -> Any:
        if not unnamed.get():
            return name_all(in_type, out_type, modules)
        inputs = Counter(r.name for r in in_type.representations)
        outputs = Counter(r.name for r in out_type.representations)
        return {
            (i, o): _Unnamed(inputs[i] * outputs[o] * module.dimension())
            for (i, o), module in modules.items()
        }

    def dimension(self: Any) -> int:
        ends = (end for _, end in self._weights_ranges.values())
        return max(ends, default=0)

    blocks._compute_attrs_and_ids = names
    blocks.BlocksBasisExpansion.dimension = dimension


def _mend_loops() -> None:
    """Replaces two loops over single numbers that building a 2021 network waits for."""

    def consecutive(numbers: list[int]) -> bool:
        low, high = min(numbers), max(numbers)
        return high * (high + 1) // 2 - (low - 1) * low // 2 == sum(numbers)

    def mask(
        s: int, margin: float = 2, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        centre = (s - 1) / 2
        edge = (centre - margin / 100.0 * centre) ** 2
        places = [(i - centre) ** 2 for i in range(s)]
        values = [
            [1.0 if x + y <= edge else math.exp((edge - (x + y)) / 4.0) for y in places]
            for x in places
        ]
        return torch.tensor(values, dtype=dtype)[None, None]

    e2cnn.nn.modules.utils.check_consecutive_numbers = consecutive
    e2cnn.nn.modules.masking_module.build_mask = mask


_mend_diffops()
_mend_numpy2()
_mend_texts()
_mend_names()
_mend_loops()
