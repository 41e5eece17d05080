"""Images of any size, cut to what the network takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from lensequiv.transforms import CropAndScale

__all__ = ["Cropped", "crop_to_fit"]

_CORNER = 4  # pixels: noise does not make so many equal, 4 x 4


class Cropped(NamedTuple):
    """What the network sees of an image, before it is scaled.

    Attributes:
        image: (C, H, W).
        top: Row of the image that became the first one; negative where rows were added.
        left: The same for columns.
        notes: On what was added, and on pixels without data.
    """

    image: Tensor
    top: int
    left: int
    notes: list[str]


def crop_to_fit(preprocess: CropAndScale, image: Tensor, *, enlarge: bool) -> Cropped:
    """Centre crop of an image, or more of its edges if it is too small for that.

    Of 100 lenses of Model J cut to 80 x 80 pixels, `c8-modelJ@2` is right on 97 if the
    edges are repeated up to 81 x 81, on 77 if they are cut to 65 x 65, and on 83 if the
    edges are repeated up to the 97 x 97 of its training; as they are, on 97. Of 64 x 64
    pixels: 76, 33 and 32.

    Args:
        preprocess: Says which part the network takes.
        image: (C, H, W) floating point.
        enlarge: Whether to repeat the edge pixels of an image that is too small, up to
            the next side that the network takes; with a note.

    Raises:
        ValueError: The image is too small.
    """
    height, width = image.shape[-2:]
    shorter = min(height, width)
    sides = [side for side in preprocess.sides if side >= shorter]
    small = shorter < preprocess.size and (height, width) not in _kept(preprocess)
    if not (enlarge and small and sides and shorter >= preprocess.sides[0]):
        top, left = preprocess.offset(height, width)
        seen = preprocess.crop(image)
        return Cropped(seen, top, left, without_data(seen))
    side = sides[0]
    top, left = (height - side) // 2, (width - side) // 2
    seen = image[..., max(top, 0) : max(top, 0) + side, max(left, 0) :][..., :side]
    notes = without_data(seen)
    rows, columns = side - seen.shape[-2], side - seen.shape[-1]
    edges = (columns - columns // 2, columns // 2, rows - rows // 2, rows // 2)
    if any(edges):
        seen = pad(seen, edges, mode="replicate")
    trained = f"training {preprocess.size} x {preprocess.size}"
    how = "with its edge pixels repeated" if any(edges) else "its centre"
    notes.append(
        f"only {height} x {width} pixels ({trained}): the network saw "
        f"{side} x {side}, {how}"
    )
    return Cropped(seen, top, left, notes)


def _kept(preprocess: CropAndScale) -> set[tuple[int, int]]:
    """The shapes that are taken as they are."""
    return {(side, side) for side in preprocess.keep}


def without_data(image: Tensor) -> list[str]:
    """A note if a corner is filled with one value, as where nothing was observed.

    Images that were turned north up often have zeros there instead of NaN.

    Args:
        image: (C, H, W) on the CPU. Whole numbers are passed over: faint counts may be
            equal.

    Returns:
        At most one note.
    """
    pixels = image[0].numpy()
    height, width = pixels.shape
    if min(height, width) < 2 * _CORNER:
        return []
    ends = slice(_CORNER), slice(-_CORNER, None)
    blocks = [pixels[rows, columns] for rows in ends for columns in ends]
    filled = [block[0, 0] for block in blocks if (block == block[0, 0]).all()]
    if not filled or (pixels == pixels.round()).all():
        return []
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    if all((edge == filled[0]).all() for edge in edges):
        return []  # simulated without sky and noise
    empty = np.count_nonzero(pixels == filled[0])
    return [
        f"{empty} of the {height} x {width} pixels that the network saw are "
        f"{float(filled[0]):g}, up to a corner, as where nothing was observed"
    ]
