"""The zoo's own network: steerable convolutions, then invariant pooling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lensequiv._checks import check_count, check_number
from lensequiv._e2cnn import FieldType, parse_group
from lensequiv._neutral import full_precision
from lensequiv.models.base import LensModel
from lensequiv.models.conversion import PlainLayers, fold_norm
from lensequiv.models.layers import (
    AntialiasedPool,
    FieldNorm,
    LocalContrast,
    SteerableConv,
)
from lensequiv.models.sizes import InputSizes
from lensequiv.plain import check_statistics, map_statistics

__all__ = ["SteerableCNN"]

_STEM_STRIDE = 4
_HIDDEN = 64
# Beyond these an option is an error, and would fill the memory or never come to an end.
_MAX_STAGES = 8
_MAX_BLOCKS = 64  # of a stage
_MAX_FIELDS = 4096
_MAX_STEM_KERNEL = 31
_MAX_KERNEL = 11  # the basis of 63 x 63 kernels of D8 would take 461 GB
_MAX_FILTER_VALUES = 2**30  # 4 GB in float32


def _check_stages(stages: Any) -> None:
    """Requires lists of counts, not too many of them."""
    lists = isinstance(stages, list | tuple) and 1 <= len(stages) <= _MAX_STAGES
    if not lists or not all(
        isinstance(stage, list | tuple) and 1 <= len(stage) <= _MAX_BLOCKS
        for stage in stages
    ):
        raise ValueError(
            f"stages={repr(stages)[:60]}: expected 1 to {_MAX_STAGES} lists, each of 1 "
            f"to {_MAX_BLOCKS} numbers of fields"
        )
    for i, stage in enumerate(stages):
        for j, fields in enumerate(stage):
            check_count(f"stages[{i}][{j}]", fields, high=_MAX_FIELDS)


class _Block(nn.Module):
    """Steerable convolution, field norm, ReLU; a shortcut where the types agree."""

    def __init__(
        self, in_type: FieldType, out_type: FieldType, kernel: int, **options: Any
    ) -> None:
        super().__init__()
        self.conv = SteerableConv(in_type, out_type, kernel, **options)
        fields = len(out_type.representations)
        self.norm = FieldNorm(fields, out_type.size // fields)
        self.shortcut = in_type == out_type

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return torch.relu(y + x if self.shortcut else y)

    def add_plain(self, layers: PlainLayers) -> None:
        weight, bias = fold_norm(
            self.conv.filters()[0], self.norm, repeat=self.norm.size
        )
        layers.add_conv(
            weight, bias, self.conv.stride, self.conv.padding, shortcut=self.shortcut
        )


class SteerableCNN(LensModel, registered="steerable"):
    """An E(2)-steerable CNN whose logits are invariant to its group on the pixel grid.

    Local contrast (a fixed isotropic filter), a steerable stem with stride 4, then
    stages of steerable blocks on regular fields with antialiased pooling between them;
    then the maximum over the group, statistics over the map (mean and standard
    deviation), and a small head. Steerable convolutions after Weiler and Cesa,
    arXiv:1911.08251.

    On the valid sizes (16 k + 1) every strided layer samples a grid that is symmetric
    about the centre, so a turn by 90 degrees (or a flip, for D groups) of the input
    leaves the logits unchanged up to rounding. Other angles of the group are met
    approximately, as well as training with random rotations teaches.

    Args:
        group: `"c8"`, `"d4"` and so on; see `lensequiv._e2cnn.parse_group`.
        in_channels: Channels of the input.
        num_classes: Number of logits.
        stem_fields: Regular fields after the stem.
        stem_kernel: Side of the stem's kernels in pixels, odd, 3 to 31.
        stages: Regular fields of the blocks of each stage; resolution is halved
            between stages.
        kernel: Side of all other kernels in pixels, odd, 1 to 11.
        statistics: Of each invariant field over the map: names among `"mean"`, `"max"`
            and `"std"`.
        contrast_sigma: Width of the local contrast's surroundings in pixels.
        contrast_floor: Sky brightness it assumes, relative to the peak.
        dropout: Probability with which the head drops a hidden value.
        initialize: False leaves the steerable weights zero, for loading.

    Raises:
        ValueError: Unknown group, or an option that is out of range or would make
            filters of more than 2**30 values.
    """

    input_weight = "stem.conv.weights"

    def __init__(
        self,
        group: str,
        in_channels: int = 1,
        num_classes: int = 3,
        *,
        stem_fields: int = 8,
        stem_kernel: int = 15,
        stages: Sequence[Sequence[int]] = ((8, 8, 8), (12, 12, 12, 12), (16, 16)),
        kernel: int = 3,
        statistics: Sequence[str] = ("mean", "std"),
        contrast_sigma: float = 3.0,
        contrast_floor: float = 0.05,
        dropout: float = 0.0,
        initialize: bool = True,
    ) -> None:
        _check_stages(stages)
        check_count("stem_fields", stem_fields, high=_MAX_FIELDS)
        check_count("stem_kernel", stem_kernel, 3, _MAX_STEM_KERNEL)
        check_count("kernel", kernel, high=_MAX_KERNEL)
        self.statistics = check_statistics(statistics)
        check_number("contrast_sigma", contrast_sigma, 0.1, 100)
        check_number("contrast_floor", contrast_floor, 1e-6, 1e6)
        check_number("dropout", dropout, 0, 1)
        step = _STEM_STRIDE * 2 ** (len(stages) - 1)
        sizes = InputSizes(2 * step + 1, step, 16 * step + 1)
        super().__init__(in_channels, num_classes, sizes)
        space = parse_group(group)
        self.group = group
        self.group_order = space.fibergroup.order()
        widths = [stem_fields, *(fields for stage in stages for fields in stage)]
        values = in_channels * stem_fields * self.group_order * stem_kernel**2
        for narrow, wide in pairwise(widths):
            values += narrow * wide * self.group_order**2 * kernel**2
        if values > _MAX_FILTER_VALUES:
            raise ValueError(
                f"stages={stages}, stem_fields={stem_fields}, kernel={kernel}: the "
                f"filters would hold {values:.1e} values; expected at most "
                f"{_MAX_FILTER_VALUES:.1e}"
            )

        def regular(fields: int) -> FieldType:
            return FieldType(space, fields * [space.regular_repr])

        in_type = FieldType(space, in_channels * [space.trivial_repr])
        out_type = regular(stem_fields)
        self.contrast = LocalContrast(contrast_sigma, contrast_floor)
        self.stem = _Block(
            in_type, out_type, stem_kernel, stride=_STEM_STRIDE, initialize=initialize
        )
        layers: list[nn.Module] = []
        for i, stage in enumerate(stages):
            if i > 0:
                layers.append(AntialiasedPool())
            for fields in stage:
                in_type, out_type = out_type, regular(fields)
                layers.append(_Block(in_type, out_type, kernel, initialize=initialize))
        self.blocks = nn.Sequential(*layers)
        self.out_type = out_type
        self.head = nn.Sequential(
            nn.Linear(len(self.statistics) * len(out_type.representations), _HIDDEN),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(_HIDDEN, num_classes),
        )

    def _features(self, x: Tensor) -> Tensor:
        with full_precision():
            contrast = self.contrast(x)
        # A network cast to half precision as a whole still sees contrasts of full ones.
        contrast = contrast.to(self.stem.norm.weight.dtype)
        features: Tensor = self._step(self.stem, contrast)
        for block in self.blocks:
            features = self._step(block, features)
        return features

    def field_types(self) -> dict[str, FieldType | None]:
        """The fields after the stem and after every block; see `LensModel`."""
        types: dict[str, FieldType | None] = {"stem": self.stem.conv.out_type}
        for name, block in self.blocks.named_children():
            if isinstance(block, _Block):
                types[f"blocks.{name}"] = block.conv.out_type
        return types

    def _plain_layers(self, layers: PlainLayers) -> None:
        layers.add(
            "contrast",
            {},
            kernel=list(self.contrast.blur.kernel),
            floor=self.contrast.floor,
        )
        for block in [self.stem, *self.blocks]:
            if isinstance(block, AntialiasedPool):
                layers.add(
                    "blur",
                    {},
                    kernel=list(block.kernel),
                    stride=block.stride,
                    padding=len(block.kernel) // 2,
                )
            else:
                block.add_plain(layers)
        layers.add("group-max", {}, order=self.group_order)
        layers.add("map-statistics", {}, kinds=list(self.statistics))
        layers.mark_embedding()
        head: Any = self.head
        first, norm, _, _, last = head
        layers.add_linear(first, norm, "relu")
        layers.add_linear(last)

    def _pool(self, features: Tensor) -> Tensor:
        n, _, height, width = features.shape
        fields = features.view(n, -1, self.group_order, height, width)
        invariant = fields.amax(2).flatten(2)
        # Half precision is too coarse for sums over the map.
        invariant = invariant.to(torch.promote_types(invariant.dtype, torch.float32))
        statistics = map_statistics(invariant, self.statistics)
        # A model cast to half precision as a whole has its head in it, too.
        return statistics.to(self.stem.norm.weight.dtype)
