"""The only module that imports e2cnn: its traps (release 0.2.3) are mended here.

What is mended, and how:

* NumPy 2 (D_N groups do not build): `numpy.array(..., copy=False)` and
  `ndarray.tostring()` are replaced where e2cnn uses them, nowhere else.
* Slow import: sympy (differential operators) and scipy.stats (one initialisation)
  are loaded when something asks for them.
* Slow construction: `R2Conv` here initialises with a vectorised form of e2cnn's
  `generalized_he_init`, or not at all, and gives its weights no names (e2cnn writes a
  string for each: four million for the 2021 D8 network).
* State dict that depends on the mode: filters and bases, which follow from the
  weights and the architecture, are not saved.
* Bases shared between models: every `R2Conv` owns its basis tensors, so casting or
  moving one model leaves others alone.
* Filters frozen by `eval()`: here they follow the weights in either mode, with
  gradients when these are wanted; see `R2Conv.filters`.
* A noisy `uint8` warning, filtered by its text.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import sys
import types
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from torch import Tensor

from lensequiv._neutral import full_precision, neutral

__all__ = [
    "CONTINUOUS",
    "FieldType",
    "GSpace",
    "GeometricTensor",
    "GroupPooling",
    "InnerBatchNorm",
    "MaskModule",
    "PointwiseAvgPoolAntialiased",
    "R2Conv",
    "ReLU",
    "SequentialModule",
    "directsum",
    "he_init_std",
    "parse_group",
]


@contextmanager
def _deferred_imports() -> Iterator[None]:
    """Postpones scipy.stats and sympy, which cost more than e2cnn itself.

    scipy.stats becomes a module that loads on first use. sympy is hidden while e2cnn
    looks for it; `_mend_diffops` gives it back.
    """
    hide_sympy = "sympy" not in sys.modules
    if "scipy.stats" not in sys.modules:
        spec = importlib.util.find_spec("scipy.stats")
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
            module = importlib.util.module_from_spec(spec)
            sys.modules["scipy.stats"] = module
            spec.loader.exec_module(module)
            # `from scipy import stats` would otherwise import, and so load, it.
            scipy.stats = module
    if hide_sympy:
        sys.modules["sympy"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide_sympy:
            del sys.modules["sympy"]


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

CONTINUOUS = ("so2", "o2")
"""Names of the continuous groups."""

GSpace: TypeAlias = Any
"""An e2cnn `GeneralOnR2`; e2cnn has no types."""


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


class _Unnamed:
    """As many names of weights as a basis needs, none of them written."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return iter(())


_unnamed = ContextVar("_unnamed", default=False)


def _mend_names() -> None:
    blocks = e2cnn.nn.modules.r2_conv.basisexpansion_blocks
    name_all = blocks._compute_attrs_and_ids

    def names(in_type: Any, out_type: Any, modules: dict[Any, Any]) -> Any:
        if not _unnamed.get():
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


_mend_diffops()
_mend_numpy2()
_mend_names()


def parse_group(name: str, max_frequency: int = 0) -> GSpace:
    """The symmetry of the plane that a group name stands for.

    Args:
        name: `"c8"`: rotations by multiples of 360/8 degrees; `"d8"`: these and
            reflections. Any order from 1 (`c1`) on. `"so2"`: all rotations; `"o2"`:
            these and reflections.
        max_frequency: Of a continuous group, the highest angular frequency of its
            irreducible representations that are made; ignored for the others.

    Returns:
        e2cnn's `Rot2dOnR2` or `FlipRot2dOnR2`; for order 1 `TrivialOnR2` or
        `Flip2dOnR2`.

    Raises:
        ValueError: The name is not of this form.
    """
    spaces = e2cnn.gspaces
    if name.lower() in CONTINUOUS:
        rotations = spaces.Rot2dOnR2 if name.lower() == "so2" else spaces.FlipRot2dOnR2
        return rotations(-1, maximum_frequency=max_frequency)
    kind, order = name[:1].lower(), name[1:]
    if kind not in ("c", "d") or not order.isdecimal() or int(order) < 1:
        raise ValueError(
            f"group {name!r}: expected 'c' (rotations) or 'd' (rotations and "
            "reflections) and an order, for instance 'c8' or 'd4'; or 'so2' or 'o2'"
        )
    n = int(order)
    if n == 1:
        return spaces.TrivialOnR2() if kind == "c" else spaces.Flip2dOnR2()
    return spaces.Rot2dOnR2(n) if kind == "c" else spaces.FlipRot2dOnR2(n)


def _forget_buffers(*modules: torch.nn.Module) -> None:
    """Keeps modules' own buffers, which can be recomputed, out of the state dict."""
    for module in modules:
        module._non_persistent_buffers_set = set(module._buffers)


@dataclass(frozen=True)
class _Kept:
    """Expanded filters, and the values of the weights they were made of."""

    weights: Tensor
    bias: Tensor | None
    filter: Tensor
    expanded_bias: Tensor | None

    def fits(self, weights: Tensor, bias: Tensor | None) -> bool:
        """Whether weights on the processor have these values."""
        return _same(self.weights, weights) and (
            bias is None or (self.bias is not None and _same(self.bias, bias))
        )


def _same(known: Tensor, value: Tensor) -> bool:
    return known.dtype == value.dtype and torch.equal(known, value)


class R2Conv(e2cnn.nn.R2Conv):  # type: ignore[misc]
    """e2cnn's steerable convolution with the traps of this module's docstring mended.

    It answers as any torch layer does: after its weights, whatever changed them, and
    with gradients to them when these are wanted, in training and in evaluation mode
    alike. Its parameters are `weights` (and `bias`); filters are neither parameters nor
    buffers. Construction takes e2cnn's arguments; `initialize=False` leaves the weights
    zero, for loading.
    """

    _kept: _Kept | None = None

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        *,
        initialize: bool = True,
        **kwargs: Any,
    ) -> None:
        token = _unnamed.set(True)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="indexing with dtype torch.uint8"
                )
                super().__init__(
                    in_type, out_type, kernel_size, initialize=False, **kwargs
                )
        finally:
            _unnamed.reset(token)
        self._own_basis()
        _forget_buffers(self, self._basisexpansion)
        if initialize:
            with torch.no_grad():
                std = he_init_std(self.basisexpansion)
                self.weights.copy_(std * torch.randn_like(self.weights))

    def _own_basis(self) -> None:
        """Replaces the basis tensors that e2cnn shares between all models.

        Its positions of channels become whole numbers: e2cnn keeps tensors.
        """
        expansion = self._basisexpansion
        for name, positions in vars(expansion).items():
            if name.startswith(("in_indices_", "out_indices_")):
                setattr(expansion, name, [int(position) for position in positions])
        for name, shared in list(expansion._modules.items()):
            own = copy.copy(shared)
            own._buffers = {
                key: value.to(torch.get_default_dtype(), copy=True)
                for key, value in shared._buffers.items()
            }
            _forget_buffers(own)
            expansion._modules[name] = own

    def filters(self) -> tuple[Tensor, Tensor | None]:
        """The expanded filter (C_out, C_in, k, k) and bias (C_out,) or None.

        They carry gradients where torch records them and a weight requires them.
        Otherwise, on a processor, the expanded filter is kept, and used for as long as
        the weights hold the values it was made of. It is the values that are compared:
        no version counter notices `weights.data.mul_()`, nor what another process
        writes to shared memory. On other devices the comparison would wait for the
        device; expanding does not.
        """
        if not self._may_keep():
            with full_precision():
                filter_, bias = self.expand_parameters()
            return filter_, bias
        kept, parameters = self._kept, self._parameters
        if kept is None or not kept.fits(parameters["weights"], parameters.get("bias")):
            # One assignment: other threads see the old filters or the new ones.
            self._kept = kept = self._expanded()
        return kept.filter, kept.expanded_bias

    def _may_keep(self) -> bool:
        """Whether weights are plain ones whose values can be looked at right now.

        They are not while a compiler or an exporter follows, nor where something stands
        in for them: `functional_call`, a parametrisation, the replicas of
        `DataParallel`, tensors without values.
        """
        if torch.compiler.is_compiling():
            return False
        weights = self._parameters.get("weights")
        bias = self._parameters.get("bias")
        if bias is None:
            return self._plain(weights) and self.bias is None
        return self._plain(weights) and self._plain(bias)

    @staticmethod
    def _plain(value: Tensor | None) -> bool:
        return (
            type(value) is torch.nn.Parameter
            and value.is_cpu
            and not (value.requires_grad and torch.is_grad_enabled())
        )

    def _expanded(self) -> _Kept:
        """The filters, free of autocast, inference mode and gradients."""
        with neutral(), torch.no_grad():
            weights, bias = self.weights.clone(), self.bias
            filter_, expanded_bias = self.expand_parameters()
            known_bias = None if bias is None else bias.clone()
        return _Kept(weights, known_bias, filter_, expanded_bias)

    @property
    def filter(self) -> Tensor:
        """The expanded filter without gradients, under the name that e2cnn gives it."""
        with torch.no_grad():
            return self.filters()[0]

    @property
    def expanded_bias(self) -> Tensor | None:
        """The expanded bias without gradients, under the name that e2cnn gives it."""
        with torch.no_grad():
            return self.filters()[1]

    @expanded_bias.setter
    def expanded_bias(self, value: None) -> None:
        """Takes the None that e2cnn sets where there is no bias."""

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Convolves fields of `in_type` to fields of `out_type`."""
        if input.type != self.in_type:
            raise ValueError(f"input of type {input.type}; expected {self.in_type}")
        filter_, bias = self.filters()
        x, padding = input.tensor, self.padding
        if self.padding_mode != "zeros":
            around = self._reversed_padding_repeated_twice
            x, padding = F.pad(x, around, self.padding_mode), 0
        y = F.conv2d(x, filter_, bias, self.stride, padding, self.dilation, self.groups)
        return GeometricTensor(y, self.out_type)

    def train(self, mode: bool = True) -> R2Conv:
        """Sets the mode, which the filters do not depend on."""
        torch.nn.Module.train(self, mode)
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> R2Conv:
        """Moves or casts, and keeps no filters of the old device."""
        self._kept = None
        applied: R2Conv = super()._apply(*args, **kwargs)
        return applied

    def register_buffer(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Registers all buffers but the filters, which would depend on the mode.

        Whoever averages two models pairs their buffers, of which neither may have more.
        """
        if name not in ("filter", "expanded_bias"):
            super().register_buffer(name, *args, **kwargs)


class InnerBatchNorm(e2cnn.nn.InnerBatchNorm):  # type: ignore[misc]
    """e2cnn's for fields of one size, without its channel indices in the state dict.

    e2cnn's own slices by tensors, for which a GPU has to wait, and copies its result.
    """

    def __init__(self, in_type: FieldType, **kwargs: Any) -> None:
        super().__init__(in_type, **kwargs)
        _forget_buffers(self)

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Normalises every field by the mean and variance of all its channels."""
        n, _, height, width = input.tensor.shape
        ((size, _),) = self._contiguous.items()
        fields = input.tensor.reshape(n, -1, size, height, width)
        normed: Tensor = self._modules[f"batch_norm_[{size}]"](fields)
        return GeometricTensor(normed.view(n, -1, height, width), self.out_type)


class PointwiseAvgPoolAntialiased(
    e2cnn.nn.PointwiseAvgPoolAntialiased  # type: ignore[misc]
):
    """e2cnn's, without its fixed filter in the state dict."""

    def __init__(self, in_type: FieldType, sigma: float, **kwargs: Any) -> None:
        super().__init__(in_type, sigma, **kwargs)
        _forget_buffers(self)


class GroupPooling(e2cnn.nn.GroupPooling):  # type: ignore[misc]
    """e2cnn's for fields of one size, without its channel indices in the state dict.

    e2cnn's own makes float32 of float64.
    """

    def __init__(self, in_type: FieldType) -> None:
        super().__init__(in_type)
        _forget_buffers(self)

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """The largest value over the group, of each field."""
        n, _, height, width = input.tensor.shape
        fields = input.tensor.view(n, len(self.in_type), -1, height, width)
        return GeometricTensor(fields.amax(2), self.out_type)


class MaskModule(e2cnn.nn.MaskModule):  # type: ignore[misc]
    """e2cnn's, its mask a buffer outside the state dict instead of a parameter."""

    def __init__(self, in_type: FieldType, size: int, margin: float) -> None:
        super().__init__(in_type, size, margin=margin)
        mask = self._parameters.pop("mask")
        self.register_buffer("mask", mask.data, persistent=False)


def he_init_std(expansion: Any) -> Tensor:
    """Standard deviations of e2cnn's generalised He initialisation, vectorised.

    e2cnn's own form walks over every weight in Python; `benchmarks/layers.py` compares.
    Here the sums run over pairs of representations: all fields of one representation
    share their values.

    Args:
        expansion: The `basisexpansion` of an `R2Conv`.

    Returns:
        (weights,) float tensor, in the order of the weights.
    """
    inputs: dict[str, int] = defaultdict(int)
    for representation in expansion._in_type.representations:
        inputs[representation.name] += 1
    outputs: dict[str, int] = defaultdict(int)
    for representation in expansion._out_type.representations:
        outputs[representation.name] += 1

    # Per output irrep: elements that feed it, by the input irrep they come from.
    counts: dict[tuple[str, int], dict[str, int]] = defaultdict(
        lambda: defaultdict(int)
    )
    blocks = {}
    for pair in expansion._representations_pairs:
        attributes = list(getattr(expansion, f"block_expansion_{pair}").attributes)
        blocks[pair] = attributes
        for a in attributes:
            key = (pair[1], a["out_irrep_idx"])
            counts[key][a["in_irrep"]] += inputs[pair[0]]

    parts = []
    for pair, attributes in blocks.items():
        one = []
        for a in attributes:
            feeding = counts[(pair[1], a["out_irrep_idx"])]
            one.append(1 / math.sqrt(len(feeding) * feeding[a["in_irrep"]]))
        parts.append(torch.tensor(one).repeat(inputs[pair[0]] * outputs[pair[1]]))
    return torch.cat(parts)
