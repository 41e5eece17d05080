"""The real lenses of `known_lens.py`, cut out around the galaxy in their middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gaussian_expansion import Array, Mask

from lensequiv.data import read_image

SCALE = 0.05  # arcsec a pixel
SIDE = 150  # pixels of the cut-outs, and of the look-alikes


def centred(image: Array) -> tuple[int, int]:
    """Row and column of the galaxy in the middle: the brightest light nearby."""
    row, column = image.shape[0] // 2, image.shape[1] // 2
    near = image[row - 10 : row + 11, column - 10 : column + 11]
    y, x = np.unravel_index(np.nanargmax(near), near.shape)
    return row - 10 + int(y), column - 10 + int(x)


def cut_out(image: Array, at: tuple[int, int], fill: float) -> Array:
    """(150, 150) about a pixel; what lies beyond the image is `fill`."""
    half = SIDE // 2
    padded = np.pad(image, half, constant_values=fill)
    return padded[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE]


def real_lenses(folder: Path) -> Iterator[tuple[str, Array, Mask | None]]:
    """Name, cut-out, and where other objects are or nothing was seen."""
    known = folder / "slacs_J0946"
    image, other = (
        read_image(known / name).astype(float).squeeze()
        for name in ("data.fits", "mask_extra_galaxies.fits")
    )
    at = centred(image)
    yield "SDSSJ0946+1006", cut_out(image, at, np.nan), cut_out(other, at, 1) > 0.5
    for path in sorted((folder / "slacs13_hst").glob("*.npy")):
        image = read_image(path).astype(float).squeeze()
        found = cut_out(image, centred(image), np.nan)
        yield path.stem.removesuffix("_npix100"), found, ~np.isfinite(found)
