"""What every set of labelled images can do, whatever it is stored in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor

from lensequiv.data.splits import Positions
from lensequiv.data.stored import StoredImage

__all__ = ["LabelledImages"]


class LabelledImages(Protocol):
    """Images with a class each; `ClassFolder` and `HDF5Images` are sets of this kind.

    Attributes:
        classes: Names of the classes in the order of their labels.
        labels: Index into `classes` of each image, (N,) int64.
        transform: Applied to each image, (C, H, W) float32, by `__getitem__`.
    """

    classes: tuple[str, ...]
    labels: Tensor
    transform: Callable[[Tensor], Tensor] | None

    @property
    def place(self) -> Path:
        """The folder or file that holds the images."""

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """An image, (C, H, W) float32 unless the transform makes it otherwise."""

    def name_of(self, index: int) -> str:
        """What messages and results call an image."""

    def stored(self, index: int) -> StoredImage:
        """An image, without the transform, with what its file says about it."""

    def manifest(self) -> str | bytes:
        """The JSON text that `lensequiv simulate` left; "null" if there is none."""

    def usual_pixel_scale(self) -> float | None:
        """Of images that do not say it themselves; None if unknown.

        *Unit*: arcsec/pixel.
        """

    def load_arrays(
        self,
        progress: bool = True,
        dtype: torch.dtype = torch.float32,
        *,
        scaled: bool = False,
    ) -> Tensor:
        """All images, (N, C, H, W), without the transform."""

    def split(self, fractions: Sequence[float], seed: int) -> list[Self]:
        """Parts of the set, each class in the same proportions."""

    def take(self, positions: Positions) -> Self:
        """The set of some of the images."""
