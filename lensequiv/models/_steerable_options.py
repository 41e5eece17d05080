"""Which options of a steerable network make sense."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from lensequiv._checks import check_count, check_flag, check_number
from lensequiv.models.fields import Fields
from lensequiv.plain import ACTIVATIONS

__all__ = ["STRIDE", "check_filters", "check_options"]

STRIDE = 4
"""Of the first stage's maps, in pixels of the image."""

_MAX_TURNS = 16
# Beyond these an option is an error, and would fill the memory or never come to an end.
_MAX_STAGES = 8
_MAX_BLOCKS = 64  # of a stage
_MAX_FIELDS = 4096
_MAX_STEM_KERNEL = 31
_MAX_KERNEL = 11  # the basis of 63 x 63 kernels of D8 would take 461 GB
_MAX_FILTER_VALUES = 2**30  # 4 GB in float32


def check_options(
    *,
    stages: Any,
    stem_fields: int,
    stem_kernel: int,
    kernel: int,
    contrast_sigma: float,
    contrast_floor: float,
    dropout: float,
    pool_sigma: float,
    stem_stride: int,
    activation: str,
    isotropic: bool,
    disc: bool,
    turns: int,
    map_fields: int,
    own_noise: bool,
) -> None:
    """Requires options of `SteerableCNN` in their ranges.

    Raises:
        ValueError: One is not, or two contradict each other.
    """
    _check_stages(stages)
    check_count("stem_fields", stem_fields, high=_MAX_FIELDS)
    check_count("stem_kernel", stem_kernel, 3, _MAX_STEM_KERNEL)
    check_count("kernel", kernel, high=_MAX_KERNEL)
    check_number("contrast_sigma", contrast_sigma, 0.1, 100)
    check_number("contrast_floor", contrast_floor, 1e-6, 1e6)
    check_number("dropout", dropout, 0, 1)
    check_number("pool_sigma", pool_sigma, 0.1, 4)
    if stem_stride not in (2, STRIDE) or isinstance(stem_stride, bool):
        raise ValueError(f"stem_stride={stem_stride!r}: expected 2 or {STRIDE}")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation={activation!r}: expected one of {', '.join(ACTIVATIONS)}"
        )
    check_flag("isotropic", isotropic)
    check_flag("disc", disc)
    check_flag("own_noise", own_noise)
    check_count("turns", turns, high=_MAX_TURNS)
    if turns > 1 and not disc:
        raise ValueError(f"turns={turns}: expected 1 without disc=True")
    check_count("map_fields", map_fields, 0, _MAX_FIELDS)
    if map_fields and turns > 1:
        raise ValueError(f"turns={turns}: expected 1 with map_fields={map_fields}")


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


def check_filters(
    kind: Fields,
    in_channels: int,
    stem_fields: int,
    stem_kernel: int,
    stages: Sequence[Sequence[int]],
    kernel: int,
) -> None:
    """Requires filters that fit into memory.

    Raises:
        ValueError: They would hold more than 2**30 values.
    """
    widths = [stem_fields, *(fields for stage in stages for fields in stage)]
    values = in_channels * stem_fields * kind.size * stem_kernel**2
    for narrow, wide in pairwise(widths):
        values += narrow * wide * kind.size**2 * kernel**2
    if values > _MAX_FILTER_VALUES:
        raise ValueError(
            f"stages={stages}, stem_fields={stem_fields}, kernel={kernel}: the "
            f"filters would hold {values:.1e} values; expected at most "
            f"{_MAX_FILTER_VALUES:.1e}"
        )
