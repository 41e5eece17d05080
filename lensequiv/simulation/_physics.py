"""Lens and light, on batches of images, in torch.

The frame is lenstronomy's: x along columns, y along rows (both rising with the
index), the origin midway between the central pixels, angles anticlockwise from x
when row 0 is drawn at the bottom. Lengths are in arcsec.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lensequiv.plain import gaussian_kernel
from lensequiv.simulation._deflection import deflect
from lensequiv.simulation._recipe import Recipe

# Logarithms of the smallest normal number of single precision, and of what is rounded
# to 0.
_UNDERFLOW, _ZERO = -87.33654, -104.0


@cache
def check_extra() -> None:
    """Requires what the extra `sim` installs.

    Raises:
        ImportError: astropy or caustics is missing.
    """
    try:
        import astropy.cosmology  # noqa: F401
        import caustics.lenses.func  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"simulating needs {error.name}: pip install 'lensequiv[sim]'"
        ) from error


def ray_grid(recipe: Recipe, device: torch.device | str = "cpu") -> Tensor:
    """Positions of the rays along one axis, (pixels * supersampling,), in arcsec."""
    count = recipe.pixels * recipe.supersampling
    step = recipe.pixel_scale / recipe.supersampling
    at = torch.arange(count, dtype=torch.float64, device=device)
    return (at - (count - 1) / 2) * step


def sersic(
    x: Tensor,
    y: Tensor,
    source: dict[str, Tensor],
    index: float | Tensor,
    radius: float | Tensor,
) -> Tensor:
    """A Sersic profile with brightness 1 at the effective radius.

    In place where it can be: half the time of caustics' `brightness_sersic`.

    The elliptical radius is sqrt(q x^2 + y^2 / q) and b_n = 1.9992 n - 0.3271
    (Capaccioli 1989), both as in lenstronomy's SERSIC_ELLIPSE.

    Args:
        x: (B, n, n) positions in the source plane; `y` likewise. Both are overwritten.
            (B, 1, n) for x and (B, n, 1) for y will do where that is all.
        y: See `x`.
        source: `source_x`, `source_y`, `axis_ratio` and `source_angle` (radians),
            (B,) each.
        index: Sersic index.
        radius: Effective radius in arcsec.

    Returns:
        (B, n, n) surface brightness.
    """
    from caustics.light.func import k_lenstronomy

    pick = {name: value[:, None, None] for name, value in source.items()}
    cos, sin = torch.cos(pick["source_angle"]), torch.sin(pick["source_angle"])
    q = pick["axis_ratio"]
    dx, dy = x.sub_(pick["source_x"]), y.sub_(pick["source_y"])
    if dx.shape == dy.shape:
        major = (cos * dx).addcmul_(sin, dy)
        minor = dy.mul_(cos).addcmul_(sin, dx, value=-1)
    else:
        major = torch.addcmul(cos * dx, sin, dy)
        minor = torch.addcmul(dy * cos, sin, dx, value=-1)
    r2 = major.square_().mul_(q).addcmul_(minor.square_(), 1 / q).div_(radius**2)
    b = k_lenstronomy(index)
    # The power, as the exponential of a logarithm: faster.
    return _exp(r2.log_().mul_(0.5 / index).exp_().mul_(-b).add_(b))


def _exp(x: Tensor) -> Tensor:
    """The exponential in place, to the bit, in half the time where it underflows.

    On the processor numbers whose exponential is below the smallest normal one take
    fifteen times as long as others. Far from a small source all rays have such numbers.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.amin() >= _UNDERFLOW:
        return x.exp_()
    normal = torch.ge(x, _UNDERFLOW, out=torch.empty_like(x))  # 1 or 0
    some = torch.gt(x, _ZERO, out=torch.empty_like(x)).sub_(normal)
    at = some.view(-1).nonzero()[:, 0]
    # Denormal numbers are multiples of 2^-149, and the multiple is what they are
    # stored as.
    multiple = x.view(-1)[at].double().exp_().mul_(2.0**149).round_().int()
    x.clamp_min_(_UNDERFLOW).exp_().mul_(normal)
    x.view(-1)[at] = multiple.view(torch.float32)
    return x


def sum_blocks(light: Tensor, size: int) -> Tensor:
    """Sums blocks of size x size rays, as sums of strided images.

    An eighth of the time of an average pooling of a single channel.

    Args:
        light: (B, n, n), n a multiple of size.
        size: Side of a block.

    Returns:
        (B, n / size, n / size).
    """
    rows = light[:, ::size].clone()
    for i in range(1, size):
        rows += light[:, i::size]
    total = rows[..., ::size].clone()
    for i in range(1, size):
        total += rows[..., i::size]
    return total


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolves with the outer product of a kernel and itself.

    Sums of shifted images: a third of the time of a convolution of a single channel.

    Args:
        image: (B, n, n); nothing comes in over its edge.
        kernel: (size,) with an odd size.

    Returns:
        (B, n, n).
    """
    half = len(kernel) // 2
    weights = kernel.tolist()
    for axis in (2, 1):
        padded = F.pad(image, (half, half) if axis == 2 else (0, 0, half, half))
        image = torch.zeros_like(image)
        for i, weight in enumerate(weights):
            image.add_(padded.narrow(axis, i, image.shape[axis]), alpha=weight)
    return image


def gaussian_weights(sigma: Tensor, size: int) -> Tensor:
    """As `lensequiv.plain.gaussian_kernel`, one for each of (B,) widths: (B, size)."""
    offset = torch.arange(size, dtype=sigma.dtype, device=sigma.device) - size // 2
    weights = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    return weights / weights.sum(1, keepdim=True)


def blur_each(image: Tensor, weights: Tensor) -> Tensor:
    """As `blur`, with (B, size) kernels, one for each image."""
    size = weights.shape[1]
    weights = weights[..., None, None]
    half = size // 2
    for axis in (2, 1):
        padded = F.pad(image, (half, half) if axis == 2 else (0, 0, half, half))
        image = torch.zeros_like(image)
        for i in range(size):
            image.addcmul_(padded.narrow(axis, i, image.shape[axis]), weights[:, i])
    return image


def render(
    lens: dict[str, Tensor],
    recipe: Recipe,
    *,
    straight: bool,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The image without noise: rays, source, pixels, point-spread function, sky.

    Args:
        lens: The keys that `deflect` and `sersic` need, and `exposure` (B,), float64.
        recipe: Everything that all images share.
        straight: See `deflect`.
        dtype: Of the result.

    Returns:
        (B, pixels, pixels) expected counts, on the device of `lens`.
    """
    axis = ray_grid(recipe, lens["theta_e"].device)
    x, y = deflect(
        axis, lens, axis_ratio=recipe.halo_axis_ratio, straight=straight, dtype=dtype
    )
    names = ("source_x", "source_y", "axis_ratio", "source_angle")
    source = {name: lens[name].to(dtype) for name in names}
    width = recipe.psf_sigma / recipe.pixel_scale
    light = sersic(x, y, source, recipe.sersic_index, recipe.effective_radius)
    image = sum_blocks(light, recipe.supersampling)
    image = blur(image, gaussian_kernel(width, recipe.psf_size // 2))
    factor = lens["exposure"] * recipe.amplitude / recipe.supersampling**2
    return image.mul_(factor.to(dtype)[:, None, None]).add_(recipe.noise.sky)
