"""Images in a type that takes less memory, and what that may cost them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lensequiv.data.errors import ImageError

LEVELS = 500
"""Steps between sky and peak that an image must keep in a narrower type."""

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_PART = 8  # one of so many rows and columns is looked at first
_SKY, _PEAK = 0.25, 0.999  # quantiles, as those of `lensequiv.transforms.CropAndScale`


def check_float(dtype: Any) -> None:
    """Refuse types that images cannot be loaded in.

    Args:
        dtype: Anything.

    Raises:
        ValueError: It is not one of `DTYPES`.
    """
    if dtype not in DTYPES:
        listed = ", ".join(map(str, DTYPES))
        raise ValueError(f"dtype is {dtype!r}; expected one of {listed}")


def narrowed(
    image: np.ndarray,
    dtype: torch.dtype,
    where: str | os.PathLike[str],
    scaled: bool = False,
) -> Tensor:
    """Bring an image to another floating-point type, if that can hold it.

    A type can hold an image if no pixel moves by more than half a step of `LEVELS`
    between sky (the quantile 0.25 of a channel) and peak (0.999); pixels brighter than
    the peak, or far below the sky, may move by that share of their own distance from
    the sky.

    Args:
        image: Finite pixels, (C, H, W) float32.
        dtype: One of `DTYPES`.
        where: File named in the error message.
        scaled: Whether a channel may be stored with sky 0 and peak 1 where the image
            is not kept exactly as it is.

    Returns:
        The image, (C, H, W) `dtype`.

    Raises:
        ImageError: The type cannot hold the image: pixels are beyond its range, or
            would fall on too few steps.
    """
    whole = torch.from_numpy(image)
    narrow = whole.to(dtype)
    if dtype.itemsize >= 4 or torch.equal(narrow.float(), whole):
        return narrow
    sky, height = _sky_and_height(image)
    if scaled:
        # In double precision: a small signal on a large constant keeps its digits.
        image = ((image.astype(np.float64) - sky) / height).astype(np.float32)
        sky, height = np.zeros_like(sky), np.ones_like(height)
        whole = torch.from_numpy(image)
        narrow = whole.to(dtype)
    largest = torch.finfo(dtype).max
    peak = float(np.abs(image).max())
    if not peak <= largest:
        unit = " times its height above the sky" if scaled else ""
        raise ImageError.because(
            where,
            f"holds pixels up to {peak:g}{unit}",
            f"at most {largest:g} in {dtype}",
        )
    _check_levels(
        image,
        np.abs(narrow.float().numpy() - image),
        (sky, height),
        str(dtype),
        where,
        "load it as torch.float32, or with scaled=True, which takes sky and peak of"
        " every image to 0 and 1",
    )
    return narrow


def check_float32(
    stored: np.ndarray, image: np.ndarray, where: str | os.PathLike[str]
) -> None:
    """Refuse images of a wider type that float32 spoils: see `narrowed`.

    A faint image on a large constant, or in a unit in which it is below 1e-38, has
    fewer steps in float32 than its light. Types that float32 holds pass at once, and
    most others after a look at a part of the pixels.

    Args:
        stored: Finite pixels, (C, H, W), any integer or real type.
        image: The same in float32.
        where: File or argument named in the error message.

    Raises:
        ImageError: The light above the sky would fall on too few steps.
    """
    size = stored.dtype.itemsize
    if size < 4 or (size == 4 and stored.dtype.kind == "f"):
        return
    part = stored[:, ::_PART, ::_PART].astype(np.float64)
    part = np.sort(part.reshape(len(part), -1))
    last = part.shape[1] - 1
    sky = part[:, last // 4]
    rise = part[:, last - last // 20] - sky  # less than the height above the sky
    # Half a step of float32; below 1e-38, of the numbers nearest to 0.
    step = np.maximum((np.abs(sky) + rise) * 2.0**-24, 2.0**-150)
    if (step < rise / (8 * LEVELS)).all() or np.array_equal(stored, image):
        return
    with np.errstate(invalid="ignore"):  # infinite pixels are refused elsewhere
        _check_levels(
            stored,
            np.abs(image - stored.astype(np.float64)),
            _sky_and_height(stored),
            "float32",
            where,
            "subtract the constant, or take another unit, in the type in which the"
            f" pixels are now ({stored.dtype.name})",
        )


def _check_levels(
    image: np.ndarray,
    moved: np.ndarray,
    sky_and_height: tuple[np.ndarray, np.ndarray],
    kind: str,
    where: str | os.PathLike[str],
    advice: str,
) -> None:
    """Refuse an image whose pixels another type moves too far: see `narrowed`.

    Args:
        image: (C, H, W), as it was.
        moved: By how much each of its pixels is another in that type.
        sky_and_height: Of `image`, as `_sky_and_height` returns them.
        kind: The type's name, for the message.
        where: File or argument named in the error message.
        advice: What to do instead.

    Raises:
        ImageError: The light above the sky would fall on fewer than `LEVELS` steps.
    """
    sky, height = sky_and_height
    allowed = np.maximum(height, np.abs(image - sky)) / (2 * LEVELS)
    if not (moved > allowed).any():
        return
    channel = int((moved / allowed).max((1, 2)).argmax())
    base, rise = float(sky[channel, 0, 0]), float(height[channel, 0, 0])
    levels = int(rise / (2 * moved[channel].max()))
    raise ImageError.because(
        where,
        f"holds light up to {rise:g} above a sky of {base:g}, of which {kind}"
        f" would keep about {levels} levels",
        f"at least {LEVELS}: {advice}",
    )


def _sky_and_height(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sky of each channel and the peak above it, (C, 1, 1) float64; never 0."""
    pixels = image.reshape(len(image), -1)
    last = pixels.shape[1] - 1
    places = (round(_SKY * last), round(_PEAK * last))
    ordered = np.partition(pixels, places, axis=1).astype(np.float64)
    sky, height = ordered[:, places[0]], ordered[:, places[1]] - ordered[:, places[0]]
    spread = pixels.max(1).astype(np.float64) - pixels.min(1)
    height = np.where(height > 0, height, spread)  # a star on an empty sky
    height = np.where(height > 0, height, 1.0)  # a channel without structure
    return sky[:, None, None], height[:, None, None]
