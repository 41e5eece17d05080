"""Preprocessing: from images in any unit to a network's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from lensequiv.data.arrays import SupportsArray
from lensequiv.transforms._augment import RandomPose, rotate
from lensequiv.transforms._normalise import CropAndScale
from lensequiv.transforms._resample import resample
from lensequiv.transforms._singh2021 import Singh2021Eval, Singh2021Train

__all__ = [
    "CropAndScale",
    "Preprocessing",
    "RandomPose",
    "Singh2021Eval",
    "Singh2021Train",
    "preprocessing_from_config",
    "resample",
    "rotate",
]


class Preprocessing(Protocol):
    """What a model's `preprocess` can do."""

    def __call__(self, images: Tensor | SupportsArray | Sequence[Any]) -> Tensor:
        """Maps (..., H, W) in any unit to (..., size, size) float32."""

    def offset(self, height: int, width: int) -> tuple[int, int]:
        """Row and column of an image that become the result's first pixel."""

    def to_config(self) -> dict[str, Any]:
        """The name and parameters as a JSON-able dictionary."""


def preprocessing_from_config(config: Mapping[str, Any]) -> Preprocessing:
    """Rebuilds what `to_config` described.

    Args:
        config: `name` and the parameters of `CropAndScale` or `Singh2021Eval`.

    Raises:
        ValueError: Unknown name, or a parameter that is unknown or out of range.
    """
    name = config.get("name")
    if name == CropAndScale.name:
        return CropAndScale.from_config(config)
    if name == "singh2021-eval":
        return Singh2021Eval.from_config(config)
    raise ValueError(
        f"preprocessing {name!r}: expected {CropAndScale.name!r} or 'singh2021-eval'"
    )
