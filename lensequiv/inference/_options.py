"""How images go through a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from lensequiv._checks import check_count

__all__ = ["Options", "Precision", "check_precision"]

Precision = Literal["fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class Options:
    """How images go through a network; see `lensequiv.predict` for each.

    Attributes:
        batch_size: Images that go through the network at once.
        progress: Whether to show a progress bar.
        workers: Threads that read ahead; see `lensequiv.predict` for None.
        precision: Of the convolutions.
        pixel_scale: Of all images. *Unit*: arcsec/pixel.
        resample: Whether to bring images to the model's pixel scale.
        on_error: `"raise"`, or `"skip"` to note in the batch what cannot be used.
        device: Where the network computes; the model's if None.
        maps: Whether to map the substructure, too.
        quantities: Whether to tell quantities, too.
        enlarge: Whether images that are too small for the network get more of their
            edge pixels and a note, instead of being refused.
    """

    batch_size: int = 64
    progress: bool = False
    workers: int | None = None
    precision: Precision = "fp32"
    pixel_scale: float | None = None
    resample: bool = False
    on_error: Literal["raise", "skip"] = "raise"
    device: str | torch.device | None = None
    maps: bool = False
    quantities: bool = False
    enlarge: bool = True

    def __post_init__(self) -> None:
        """Checks what does not depend on the model.

        Raises:
            ValueError: An option is out of range; the message names it.
        """
        check_count("batch_size", self.batch_size)
        if self.workers is not None:
            check_count("workers", self.workers)
        check_precision(self.precision)
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={self.on_error!r}: expected 'raise' or 'skip'")


def check_precision(precision: str) -> None:
    """Requires one of the three precisions.

    Raises:
        ValueError: It is neither `"fp32"` nor `"tf32"` nor `"bf16"`.
    """
    if precision not in ("fp32", "tf32", "bf16"):
        raise ValueError(
            f"precision={precision!r}: expected 'fp32', 'bf16' or, on CUDA, 'tf32'"
        )
