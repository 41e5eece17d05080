"""What is known of some images, once they went through the network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lensequiv.inference._map import SubstructureMap
from lensequiv.inference._quantities import Quantities

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """What was found about some images, and which could not be used.

    Attributes:
        names: Of all images that were asked for.
        errors: Why one could not be used, or None, for each name.
        logits: (n, classes) float32 on the CPU, for the images without error.
        probabilities: Likewise.
        notes: For the images without error.
        scores: (n,) float32, for the images without error; None if the model has no
            `domain`.
        maps: For the images without error; None if none were wanted.
        quantities: Likewise.
        guessed: How many of the images without error were taken to have the pixel
            scale of the training images, since nothing tells theirs.
    """

    names: list[str]
    errors: list[str | None]
    logits: Tensor
    probabilities: Tensor
    notes: list[list[str]]
    scores: Tensor | None
    maps: list[SubstructureMap] | None = None
    quantities: Quantities | None = None
    guessed: int = 0
