"""Lens and light, on batches of images, in torch.

The frame is lenstronomy's: x along columns, y along rows (both rising with the
index), the origin midway between the central pixels, angles anticlockwise from x
when row 0 is drawn at the bottom. Lengths are in arcsec.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation.recipes import Recipe

# 4 G Msun / c^2, in Mpc, times the arcsec in a radian squared: what turns solar masses
# over Mpc into arcsec^2. GM_sun is IAU 2015 resolution B3's nominal value.
_GM_SUN = 1.3271244e20  # m^3/s^2
_C = 299792458.0  # m/s
_MPC = 3.0856775814913673e22  # m
_ARCSEC = 180 * 3600 / math.pi
_MASS_TO_ARCSEC2 = 4 * _GM_SUN / _C**2 / _MPC * _ARCSEC**2

_SOFTENING = 1e-10  # arcsec^2: keeps a ray through a point mass finite


def mass_to_arcsec2(
    z_lens: NDArray[np.float64], z_source: NDArray[np.float64], recipe: Recipe
) -> NDArray[np.float64]:
    """Squared Einstein radius of one solar mass, as the original code computed it.

    It uses *luminosity* distances and their difference for the distance between lens
    and source. That is not what lensing theory asks for, but it is what the original
    images contain: 1.2815 arcsec for 1e12 solar masses between 0.5 and 1.0.

    Args:
        z_lens: (N,) redshifts of the lenses.
        z_source: (N,) redshifts of the sources.
        recipe: Gives the cosmology.

    Returns:
        (N,). *Unit*: arcsec^2 per solar mass; times a mass it is theta_E squared.
    """
    from astropy.cosmology import FlatLambdaCDM

    cosmology = FlatLambdaCDM(H0=recipe.hubble, Om0=recipe.omega_matter)
    d_lens = cosmology.luminosity_distance(z_lens).to_value("Mpc")
    d_source = cosmology.luminosity_distance(z_source).to_value("Mpc")
    return np.asarray(_MASS_TO_ARCSEC2 * (d_source - d_lens) / (d_lens * d_source))


def ray_grid(recipe: Recipe, dtype: torch.dtype) -> Tensor:
    """Positions of the rays along one axis, (pixels * supersampling,), in arcsec."""
    count = recipe.pixels * recipe.supersampling
    step = recipe.pixel_scale / recipe.supersampling
    return (torch.arange(count, dtype=dtype) - (count - 1) / 2) * step


def deflect(axis: Tensor, lens: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Where the rays of a square grid meet the source plane.

    Args:
        axis: (n,) positions of the rays along either axis.
        lens: `theta_e` (B,) Einstein radius of the isothermal sphere at the origin;
            `shear` and `shear_angle` (B,), the latter in radians; `mass_x`, `mass_y`
            (B, K) and `mass_theta2` (B, K), positions and squared Einstein radii of
            the point masses, K may be 0.

    Returns:
        x and y in the source plane, (B, n, n) each.
    """
    x, y = axis[None, None, :], axis[None, :, None]
    gamma1 = (lens["shear"] * torch.cos(2 * lens["shear_angle"]))[:, None, None]
    gamma2 = (lens["shear"] * torch.sin(2 * lens["shear_angle"]))[:, None, None]
    sphere = lens["theta_e"][:, None, None] / torch.sqrt(x**2 + y**2 + _SOFTENING)
    beta_x = x * (1 - sphere - gamma1) - gamma2 * y
    beta_y = y * (1 - sphere + gamma1) - gamma2 * x

    dx = axis - lens["mass_x"][..., None]
    dy = axis - lens["mass_y"][..., None]
    dx2, dy2 = dx**2 + _SOFTENING, dy**2
    weight = torch.empty_like(beta_x)
    for k in range(dx.shape[1]):  # in place: the arrays stay in the cache
        torch.add(dx2[:, k, None, :], dy2[:, k, :, None], out=weight)
        torch.div(lens["mass_theta2"][:, k, None, None], weight, out=weight)
        beta_x.addcmul_(dx[:, k, None, :], weight, value=-1)
        beta_y.addcmul_(dy[:, k, :, None], weight, value=-1)
    return beta_x, beta_y


def sersic(
    x: Tensor, y: Tensor, source: dict[str, Tensor], index: float, radius: float
) -> Tensor:
    """A Sersic profile with brightness 1 at the effective radius.

    The elliptical radius is sqrt(q x^2 + y^2 / q) and b_n = 1.9992 n - 0.3271
    (Capaccioli 1989), both as in lenstronomy's SERSIC_ELLIPSE.

    Args:
        x: (B, n, n) positions in the source plane; `y` likewise.
        y: See `x`.
        source: `source_x`, `source_y`, `axis_ratio` and `source_angle` (radians),
            (B,) each.
        index: Sersic index.
        radius: Effective radius in arcsec.

    Returns:
        (B, n, n) surface brightness.
    """
    pick = {name: value[:, None, None] for name, value in source.items()}
    cos, sin = torch.cos(pick["source_angle"]), torch.sin(pick["source_angle"])
    dx, dy = x - pick["source_x"], y - pick["source_y"]
    major, minor = cos * dx + sin * dy, cos * dy - sin * dx
    q = pick["axis_ratio"]
    r2 = (q * major**2 + minor**2 / q) / radius**2
    b = 1.9992 * index - 0.3271
    return torch.exp(-b * (r2.pow(0.5 / index) - 1))


def gaussian_kernel(sigma: float, size: int, dtype: torch.dtype) -> Tensor:
    """One axis of the point-spread function, sampled at pixel centres, of sum 1.

    Args:
        sigma: Width in pixels.
        size: Number of pixels, odd.
        dtype: Of the result.

    Returns:
        (size,) kernel; its outer product with itself is the full kernel.
    """
    offset = torch.arange(size, dtype=dtype) - (size - 1) / 2
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    return kernel / kernel.sum()


def render(lens: dict[str, Tensor], recipe: Recipe) -> Tensor:
    """The image without noise: rays, source, pixels, point-spread function, sky.

    Args:
        lens: The keys that `deflect` and `sersic` need.
        recipe: Everything that all images share.

    Returns:
        (B, pixels, pixels) expected counts, in the dtype of `lens`.
    """
    axis = ray_grid(recipe, lens["theta_e"].dtype)
    source = {name: lens[name] for name in ("source_x", "source_y", "axis_ratio")} | {
        "source_angle": lens["source_angle"]
    }
    beta = deflect(axis, lens)
    light = sersic(*beta, source, recipe.sersic_index, recipe.effective_radius)
    image = F.avg_pool2d(light[:, None], recipe.supersampling) * recipe.amplitude
    kernel = gaussian_kernel(
        recipe.psf_sigma / recipe.pixel_scale, recipe.psf_size, image.dtype
    )
    half = recipe.psf_size // 2
    image = F.conv2d(image, kernel[None, None, :, None], padding=(half, 0))
    image = F.conv2d(image, kernel[None, None, None, :], padding=(0, half))
    return image[:, 0] + recipe.sky
