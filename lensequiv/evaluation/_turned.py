"""Images that are turned at random before they are classified."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lensequiv.inference._scale import PixelScales
from lensequiv.inference._source import Loaded, Source
from lensequiv.models import LensNetwork
from lensequiv.transforms import _augment

__all__ = ["changed", "turns"]

_PART = 500  # images whose angles are drawn together, as examples/train.py does


def changed(
    source: Source, scales: PixelScales, change: Callable[[int, Tensor], Tensor]
) -> Source:
    """The same images, brought to the model's scale if wanted, then changed."""

    def load(i: int) -> Loaded:
        image, _ = scales.apply(source.load(i), source.names[i])
        return Loaded(change(i, image))

    return Source(source.names, load)


def turns(model: LensNetwork, n: int, seed: int) -> Callable[[int, Tensor], Tensor]:
    """What turns image i, with the poses drawn ahead in parts."""
    pose = _augment.RandomPose(
        129, shift=0, rotate=1.0
    )  # its size plays no part in drawing
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        drawn = [pose.draw(min(_PART, n - start)) for start in range(0, n, _PART)]

    def turn(i: int, image: Tensor) -> Tensor:
        angle, flips, shifts = drawn[i // _PART]
        k = slice(i % _PART, i % _PART + 1)
        # Smaller images keep their size; a side is odd, so that the centre is a pixel.
        side = min(model.input_size, *image.shape[-2:])
        side -= 1 - side % 2
        return _augment.resample(image[None], angle[k], flips[k], shifts[:, k], side)[0]

    return turn
