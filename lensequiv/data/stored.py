"""What one image in a file consists of, besides its pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lensequiv.data.checks import channel_axis, check_image
from lensequiv.data.narrowing import check_float32


class Loaded(NamedTuple):
    """An array as a file stores it, and what the file says about it.

    Attributes:
        pixels: (H, W), (C, H, W) or (H, W, C), any integer or real type and byte order.
        axion_mass: As in `StoredImage`.
        pixel_scale: As in `StoredImage`.
        plane: As in `StoredImage`.
        notes: Those of `StoredImage` that concern the pixel scale.
        flags: Those that concern planes beside the image.
    """

    pixels: np.ndarray
    axion_mass: float | None = None
    pixel_scale: float | None = None
    plane: str | None = None
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredImage:
    """An image and what its file says about it.

    Attributes:
        image: (C, H, W) float32, in the unit of the file; see `read_image`.
        axion_mass: In eV, where DeepLenseSim stored one beside the image.
        pixel_scale: In arcsec per pixel, where the file tells it; see
            `lensequiv.data.pixel_scale`.
        plane: Name of the HDU, array or data set that was read (an HDU without a name:
            its number; of several with one name: name and version, "SCI,2"); None in
            formats that hold nothing else.
        index: Which image of a file that holds a stack; None where it holds one.
        notes: What a user should know about this image before trusting a prediction:
            pixels that a mask or data-quality plane beside the image flags, pixels
            that are not square, contradictory pixel scales, a margin cut away.
        corner: Row and column, in the image of the file, of the first pixel; other
            than 0 where a margin was cut away, see `lensequiv.data.read_stored`.
    """

    image: np.ndarray
    axion_mass: float | None = None
    pixel_scale: float | None = None
    plane: str | None = None
    index: int | None = None
    notes: tuple[str, ...] = ()
    corner: tuple[int, int] = (0, 0)


def channels_first(stored: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Bring an array of a valid layout to (C, H, W), as a view."""
    axis = channel_axis(stored.shape, path)
    return stored[None] if axis is None else np.moveaxis(stored, axis, 0)


def as_float32(stored: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Bring an array of a valid layout to (C, H, W) float32, and check its pixels."""
    return checked_float32(channels_first(stored, path), path)


def checked_float32(stored: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Bring (C, H, W) of any real type to float32, and check its pixels."""
    if stored.dtype == np.float32 and stored.flags.carray:
        image = stored
    else:
        with np.errstate(over="ignore"):  # overflow is found, and named, just below
            image = stored.astype(np.float32, order="C")
    check_image(image, path)
    check_float32(stored, image, path)
    return image
