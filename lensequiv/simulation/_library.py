"""Pictures of galaxies and of stars, read and made ready for rendering."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.data import ImageError, find_images, read_image

__all__ = ["EXTENT", "TEXELS", "galaxy_library", "prepared_galaxy", "psf_library"]

# A galaxy is held as TEXELS x TEXELS numbers that reach EXTENT half-light radii to each
# side of its centre.
TEXELS, EXTENT = 128, 4.0
_LEAST = 16  # pixels: the smallest picture that can hold a galaxy and some sky
# Scales of the wavelet transform that tells light from noise; how many times the
# noise's power is taken away; where a galaxy ends, in units of its peak.
_SCALES, _DOUBT, _FLOOR = 4, 2**0.5, 0.01
_BUNDLED = Path(__file__).parent / "images"
_B3 = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)


def galaxy_library(path: str | None, device: torch.device | str = "cpu") -> Tensor:
    """Galaxies with total light and half-light radius 1, (L, TEXELS, TEXELS) float32.

    Args:
        path: An image, a folder of images, or the package's own galaxies if None.
        device: Where to keep them.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ImageError: A picture cannot be read or shows no galaxy; the message names it.
    """
    return _on(galaxy_library.__name__, path, str(device))


def psf_library(path: str | None, device: torch.device | str = "cpu") -> Tensor:
    """Point-spread functions of sum 1, (L, k, k) float32 with k odd.

    Args:
        path: An image, a folder of images of one size, or the package's own (Hubble's
            ACS, filter F814W, four samples a pixel) if None.
        device: Where to keep them.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ImageError: A picture cannot be read or is no point-spread function; the message
            names it.
    """
    return _on(psf_library.__name__, path, str(device))


@lru_cache(maxsize=16)
def _on(kind: str, path: str | None, device: str) -> Tensor:
    return _read(kind, path).to(device)


@lru_cache(maxsize=8)
def _read(kind: str, path: str | None) -> Tensor:
    galaxies = kind == galaxy_library.__name__
    if path is None:
        name = "galaxies" if galaxies else "psf_acs_f814w"
        with np.load(_BUNDLED / f"{name}.npz", allow_pickle=False) as file:
            stored = torch.from_numpy(file["images"].astype(np.float32))
        area = (2 * EXTENT / TEXELS) ** 2 if galaxies else 1.0
        return stored / stored.sum((1, 2), keepdim=True) / area
    where = Path(path)
    files = [where] if where.is_file() else find_images(where)
    prepare = prepared_galaxy if galaxies else _prepared_psf
    images = [prepare(_one_channel(file), file) for file in files]
    sizes = {
        tuple(image.shape): file for image, file in zip(images, files, strict=True)
    }
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise ImageError(
            f"{other} has {second[0]} x {second[1]} pixels, {one} {first[0]} x "
            f"{first[1]}; expected point-spread functions of one size"
        )
    return torch.stack(images)


def _one_channel(file: Path) -> NDArray[np.float32]:
    """An image without pixels that are no numbers, its channels averaged."""
    return np.asarray(read_image(file).mean(0), np.float32)


def _prepared_psf(image: NDArray[np.float32], file: Path) -> Tensor:
    """One point-spread function of sum 1."""
    height, width = image.shape
    if height != width or height % 2 == 0:
        raise ImageError(
            f"{file}: {height} x {width} pixels; expected a square with an odd side"
        )
    psf = torch.from_numpy(image).clamp_min(0)
    if not float(psf.sum()) > 0:
        raise ImageError(f"{file}: no pixel is above 0; expected light")
    row, column = divmod(int(psf.argmax()), width)
    if max(abs(row - height // 2), abs(column - width // 2)) > max(1, width // 10):
        raise ImageError(
            f"{file}: brightest at row {row}, column {column}; expected the peak in "
            f"the middle, {height // 2}"
        )
    return psf / psf.sum()


def prepared_galaxy(image: NDArray[np.float32], file: str | Path) -> Tensor:
    """A galaxy without sky, noise and detached neighbours, centred, in its own units.

    The sky is the median of the outermost tenth on each side. Light is told from noise
    by a wavelet transform (starlets, Starck & Murtagh 2006): each scale is weighted by
    what its local power has above twice that of the noise. Of what is left, the part
    that hangs together with the brightest place near the middle is the galaxy.

    Args:
        image: (H, W).
        file: What to call it in messages.

    Returns:
        (TEXELS, TEXELS) float32 brightness with total light 1 and half of it within
        radius 1; 0 along the edge.

    Raises:
        ImageError: It is too small, or nothing in it stands out of the noise.
    """
    height, width = image.shape
    if min(height, width) < _LEAST:
        raise ImageError(
            f"{file}: {height} x {width} pixels; expected at least {_LEAST} x {_LEAST}"
        )
    light = torch.from_numpy(image).double()[None, None]
    border = _rim(height, width, max(2, min(height, width) // 10))
    light -= light[0, 0][border].median()
    galaxy = _cut_out(_denoised(light, border), border, file)
    row, column, radius = _moments(galaxy[0, 0])
    return _resampled(galaxy, row, column, radius)


def _smooth(image: Tensor, spacing: int) -> Tensor:
    """Convolves (1, 1, H, W) with the B3 spline, its taps `spacing` pixels apart."""
    taps = image.new_tensor(_B3)
    for kernel in (taps[None, None, None, :], taps[None, None, :, None]):
        pads = [2 * spacing * (kernel.shape[i] > 1) for i in (3, 3, 2, 2)]
        padded = F.pad(image, pads, mode="replicate")
        image = F.conv2d(padded, kernel, dilation=spacing)
    return image


def _denoised(image: Tensor, border: Tensor) -> Tensor:
    """Each scale times the share of its power that is no noise, and the smooth rest."""
    kept = torch.zeros_like(image)
    for scale in range(_SCALES):
        spacing = 2**scale
        if 8 * spacing >= min(image.shape[-2:]):
            break
        smoother = _smooth(image, spacing)
        detail = image - smoother
        noise = 1.4826 * detail[0, 0][border].abs().median()
        power = _smooth(_smooth(detail.square(), spacing), 2 * spacing)
        kept += detail * (1 - (_DOUBT * noise).square() / (power + 1e-300)).clamp_min(0)
        image = smoother
    return kept + image


def _cut_out(clean: Tensor, border: Tensor, file: str | Path) -> Tensor:
    """The galaxy alone, (1, 1, H, W); it fades to 0 where it ends."""
    soft = _smooth(clean, 1)
    height, width = soft.shape[-2:]
    middle = torch.zeros_like(soft)
    middle[..., height // 4 : -(height // 4), width // 4 : -(width // 4)] = 1
    peak = float((soft * middle).max())
    sky = 1.4826 * float(soft[0, 0][border].abs().median())
    if not peak > 5 * sky or float((soft * (1 - middle)).max()) > 3 * peak:
        raise ImageError(
            f"{file}: nothing in its middle stands out of sky and noise; expected a "
            "galaxy there, with sky around it"
        )
    floor = max(_FLOOR * peak, 3 * sky)
    bright = (soft > floor).double()
    region = ((soft * middle) == peak).double()
    for _ in range(height * width):
        grown = F.max_pool2d(region, 3, 1, 1) * bright
        if torch.equal(grown, region):
            break
        region = grown
    region[0, 0][_rim(height, width, 2)] = 0
    return (clean - floor).clamp_min(0) * _smooth(region, 1)


def _rim(height: int, width: int, thickness: int) -> Tensor:
    """Which pixels are no farther from the edge, (H, W)."""
    rim = torch.ones(height, width, dtype=torch.bool)
    rim[thickness:-thickness, thickness:-thickness] = False
    return rim


def _moments(galaxy: Tensor) -> tuple[float, float, float]:
    """Centre (row, column) and half-light radius of (H, W), in pixels."""
    light = galaxy.clamp_min(0)
    rows, columns = (
        torch.arange(n, dtype=light.dtype) for n in (light.shape[0], light.shape[1])
    )
    total = light.sum()
    row = float((light.sum(1) * rows).sum() / total)
    column = float((light.sum(0) * columns).sum() / total)
    distance = torch.hypot(rows[:, None] - row, columns[None] - column).ravel()
    order = distance.argsort()
    below = light.ravel()[order].cumsum(0) < total / 2
    radius = float(distance[order][int(below.sum())])
    return row, column, max(radius, 1.0)


def _resampled(galaxy: Tensor, row: float, column: float, radius: float) -> Tensor:
    """(1, 1, H, W) on the grid of the library."""
    step = 2 * EXTENT / TEXELS * radius  # pixels a texel
    if step > 1:  # or details finer than a texel would be folded into coarser ones
        width = int(3 * step) * 2 + 1
        at = torch.arange(width, dtype=galaxy.dtype) - width // 2
        taps = torch.exp(-0.5 * (at / (0.5 * step)) ** 2)
        taps = (taps / taps.sum())[None, None, None]
        galaxy = F.conv2d(galaxy, taps, padding=(0, width // 2))
        galaxy = F.conv2d(galaxy, taps.mT, padding=(width // 2, 0))
    at = (torch.arange(TEXELS, dtype=galaxy.dtype) - (TEXELS - 1) / 2) * step
    height, width = galaxy.shape[-2:]
    y, x = (2 * (at + row) + 1) / height - 1, (2 * (at + column) + 1) / width - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
    texture = F.grid_sample(galaxy, grid, mode="bicubic", align_corners=False)[0, 0]
    texture = texture.clamp_min_(0)
    for edge in (texture[0], texture[-1], texture[:, 0], texture[:, -1]):
        edge.zero_()
    return (texture / texture.sum() / (2 * EXTENT / TEXELS) ** 2).float()
