"""Lens and light, on batches of images, in torch.

The frame is lenstronomy's: x along columns, y along rows (both rising with the
index), the origin midway between the central pixels, angles anticlockwise from x
when row 0 is drawn at the bottom. Lengths are in arcsec.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._kernels import has_kernels, sum_masses
from lensequiv.simulation._recipe import Recipe

# 4 G Msun / c^2, in Mpc, times the arcsec in a radian squared: what turns solar masses
# over Mpc into arcsec^2. GM_sun is IAU 2015 resolution B3's nominal value.
_GM_SUN = 1.3271244e20  # m^3/s^2
_C = 299792458.0  # m/s
_MPC = 3.0856775814913673e22  # m
_ARCSEC = 180 * 3600 / math.pi
_MASS_TO_ARCSEC2 = 4 * _GM_SUN / _C**2 / _MPC * _ARCSEC**2

_CORE = 1e-10  # arcsec: keeps a ray through the centre finite
_SOFTENING = 1e-16  # arcsec^2: keeps a ray through a point mass finite
_NEAR = 8.0  # spacings of a line of masses, within which they are summed one by one
_NEAR_ELEMENTS = 2**21  # bounds the memory of that sum


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


def mass_to_arcsec2(
    z_lens: NDArray[np.float64], z_source: NDArray[np.float64], recipe: Recipe
) -> NDArray[np.float64]:
    """Squared Einstein radius of one solar mass, as the original code computed it.

    Unless the recipe says otherwise, it uses *luminosity* distances and their
    difference for the distance between lens and source. That is not what lensing theory
    asks for, but it is what the original images contain: 1.2815 arcsec for 1e12 solar
    masses between 0.5 and 1.0.

    Args:
        z_lens: (N,) redshifts of the lenses.
        z_source: (N,) redshifts of the sources.
        recipe: Gives the cosmology and the kind of distances.

    Returns:
        (N,). *Unit*: arcsec^2 per solar mass; times a mass it is theta_E squared.
    """
    redshifts, places = np.unique([z_lens, z_source], return_inverse=True)
    model = cosmology(recipe.hubble, recipe.omega_matter)
    if recipe.distances == "angular":
        chi = model.comoving_distance(redshifts).to_value("Mpc")
        lens, source = chi[places.reshape(2, -1)]
        return np.asarray(
            _MASS_TO_ARCSEC2 * (source - lens) * (1 + z_lens) / (lens * source)
        )
    distances = model.luminosity_distance(redshifts)
    d_lens, d_source = distances.to_value("Mpc")[places.reshape(2, -1)]
    return np.asarray(_MASS_TO_ARCSEC2 * (d_source - d_lens) / (d_lens * d_source))


def virial_radius(
    mass: NDArray[np.float64], z: NDArray[np.float64], recipe: Recipe
) -> NDArray[np.float64]:
    """r_200 of halos: 200 times the critical density within, at their redshift.

    Args:
        mass: (N, K) M_200. *Unit*: solar masses.
        z: (N,) redshifts.
        recipe: Gives the cosmology.

    Returns:
        (N, K). *Unit*: arcsec.
    """
    model = cosmology(recipe.hubble, recipe.omega_matter)
    density = model.critical_density(z).to_value("Msun / Mpc3")[:, None]
    radius = np.cbrt(3 * mass / (800 * np.pi * density))  # Mpc
    distance = model.angular_diameter_distance(z).to_value("Mpc")[:, None]
    return np.asarray(radius / distance * _ARCSEC)


def convention_factor(
    z_lens: NDArray[np.float64], z_source: NDArray[np.float64], recipe: Recipe
) -> NDArray[np.float64]:
    """What multiplies all deflections where they are stated for another source.

    lenstronomy's multi-plane mode takes Einstein radii and shears as those of a source
    at `z_source_convention` and rescales them to the real one by the ratio of D_LS /
    D_S, with angular diameter distances: 0.6337 for a lens at 0.5 and a source at 1.0
    when the convention is 2.5.

    Args:
        z_lens: (N,) redshifts of the lenses.
        z_source: (N,) redshifts of the sources.
        recipe: Gives the cosmology and `z_source_convention`.

    Returns:
        (N,), dimensionless; 1 without a convention.
    """
    if recipe.z_source_convention is None:
        return np.ones_like(z_lens)
    # In a flat universe D_LS / D_S is 1 - chi_L / chi_S, chi the comoving distance.
    redshifts = np.stack([z_lens, z_source])
    model = cosmology(recipe.hubble, recipe.omega_matter)
    lens, source = model.comoving_distance(redshifts).to_value("Mpc")
    stated = model.comoving_distance(recipe.z_source_convention).to_value("Mpc")
    return np.asarray((1 - lens / source) / (1 - lens / stated))


@lru_cache(maxsize=8)
def cosmology(hubble: float, omega_matter: float) -> Any:
    from astropy.cosmology import FlatLambdaCDM

    return FlatLambdaCDM(H0=hubble, Om0=omega_matter)


def ray_grid(recipe: Recipe, device: torch.device | str = "cpu") -> Tensor:
    """Positions of the rays along one axis, (pixels * supersampling,), in arcsec."""
    count = recipe.pixels * recipe.supersampling
    step = recipe.pixel_scale / recipe.supersampling
    at = torch.arange(count, dtype=torch.float64, device=device)
    return (at - (count - 1) / 2) * step


def deflect(
    axis: Tensor,
    lens: dict[str, Tensor],
    *,
    axis_ratio: float = 1.0,
    straight: bool,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Where the rays of a square grid meet the source plane.

    Args:
        axis: (n,) float64 positions of the rays along either axis.
        lens: In float64: `theta_e` (B,) Einstein radius of the isothermal halo at the
            origin and `halo_angle` (B,) its direction; `shear` and `shear_angle` (B,);
            angles in radians; `mass_x`, `mass_y` (B, K) and `mass_theta2` (B, K),
            positions and squared Einstein radii of the point masses, K may be 0.
        axis_ratio: Of the halo.
        straight: Whether each lens's point masses are equal and evenly spaced on a
            straight line.
        dtype: Of everything that has the size of the grid.

    Returns:
        x and y in the source plane, (B, n, n) `dtype` each.
    """
    x, y = axis.to(dtype)[None, None, :], axis.to(dtype)[None, :, None]
    names = ("theta_e", "halo_angle", "shear", "shear_angle")
    pick = [lens[name].to(dtype)[:, None, None] for name in names]
    # On the device without a copy, which would have to be waited for.
    q = torch.full((), axis_ratio, dtype=dtype, device=axis.device)
    beta_x, beta_y = _behind_the_halo(
        x, y, *pick, q=None if axis_ratio == 1 else q
    )
    if lens["mass_x"].shape[1]:
        masses = (lens["mass_x"], lens["mass_y"], lens["mass_theta2"])
        by_masses = line_deflection if straight else point_deflection
        if has_kernels(axis.device):
            by_masses = summed_deflection
        mass_x, mass_y = by_masses(axis, *masses, dtype=dtype)
        beta_x -= mass_x
        beta_y -= mass_y
    return beta_x, beta_y


def _behind_the_halo(
    x: Tensor,
    y: Tensor,
    theta_e: Tensor,
    halo_angle: Tensor,
    shear: Tensor,
    shear_angle: Tensor,
    *,
    q: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Rays after an isothermal halo of axis ratio q (None: round) and the shear."""
    from caustics.lenses import func

    gamma1 = func.gamma_phi_to_gamma1(shear, shear_angle)
    gamma2 = func.gamma_phi_to_gamma2(shear, shear_angle)
    shear_x, shear_y = func.reduced_deflection_angle_external_shear(
        0.0, 0.0, gamma1, gamma2, x, y
    )
    if q is None:
        halo_x, halo_y = func.reduced_deflection_angle_sis(
            0.0, 0.0, theta_e, x, y, _CORE
        )
    else:
        halo_x, halo_y = func.reduced_deflection_angle_sie(
            0.0, 0.0, q, halo_angle, theta_e, x, y, _CORE
        )
    return (x - shear_x).sub_(halo_x), (y - shear_y).sub_(halo_y)


def summed_deflection(
    axis: Tensor,
    mass_x: Tensor,
    mass_y: Tensor,
    theta2: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """As `point_deflection`, in one kernel.

    Args:
        axis: See `point_deflection`; on a device that `has_kernels`.
        mass_x: See `point_deflection`.
        mass_y: See `point_deflection`.
        theta2: See `point_deflection`.
        dtype: Of the result; the sum is taken in float32.

    Returns:
        x and y components, (B, n, n) `dtype` each. *Unit*: arcsec.
    """
    dx, dy = ((axis - at[..., None]).float() for at in (mass_x, mass_y))
    total_x, total_y = sum_masses(dx, dy, theta2.float(), _SOFTENING)
    return total_x.to(dtype), total_y.to(dtype)


def point_deflection(
    axis: Tensor,
    mass_x: Tensor,
    mass_y: Tensor,
    theta2: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Deflection by point masses, one mass after the other over all rays.

    In place, and with squares taken before x and y meet: a third of the memory traffic
    of caustics' point mass. Distances are taken in double precision, so that they keep
    their digits next to a mass.

    Args:
        axis: (n,) float64 positions of the rays along either axis.
        mass_x: (B, K) float64 positions and squared Einstein radii of the masses.
        mass_y: See `mass_x`.
        theta2: See `mass_x`.
        dtype: Of the result.

    Returns:
        x and y components, (B, n, n) `dtype` each. *Unit*: arcsec.
    """
    dx = (axis - mass_x[..., None]).transpose(0, 1)
    dy = (axis - mass_y[..., None]).transpose(0, 1)
    dx2, dy2 = (dx.square() + _SOFTENING).to(dtype), dy.square().to(dtype)
    dx, dy, strength = dx.to(dtype), dy.to(dtype), theta2.T.to(dtype)
    total_x = dx.new_zeros(dx.shape[1], len(axis), len(axis))
    total_y, weight = torch.zeros_like(total_x), torch.empty_like(total_x)
    for k in range(len(dx)):
        torch.add(dx2[k, :, None, :], dy2[k, :, :, None], out=weight)
        torch.div(strength[k, :, None, None], weight, out=weight)
        total_x.addcmul_(dx[k, :, None, :], weight)
        total_y.addcmul_(dy[k, :, :, None], weight)
    return total_x, total_y


def line_deflection(
    axis: Tensor,
    mass_x: Tensor,
    mass_y: Tensor,
    theta2: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """The same for equal masses, evenly spaced on a straight line, in closed form.

    With w the complex position along and across the line in units of the spacing,
    the sum over masses of 1 / (w - k) is the integral over the line, which is a
    logarithm, plus the Euler-Maclaurin terms of its two ends. Their first is kept;
    the next is below 2e-6 where it is used, farther than `_NEAR` spacings from the
    line. Nearer rays, about one in a hundred, are summed mass by mass, in double
    precision.

    Args:
        axis: See `point_deflection`.
        mass_x: See `point_deflection`; K is at least 2.
        mass_y: See `point_deflection`.
        theta2: See `point_deflection`.
        dtype: Of the result.

    Returns:
        x and y components, (B, n, n) `dtype` each. *Unit*: arcsec.
    """
    count = mass_x.shape[1]
    half = count / 2
    step_x = (mass_x[:, -1:] - mass_x[:, :1]) / (count - 1)
    step_y = (mass_y[:, -1:] - mass_y[:, :1]) / (count - 1)
    step2 = step_x**2 + step_y**2
    dx = (axis - (mass_x[:, -1:] + mass_x[:, :1]) / 2) / step2
    dy = (axis - (mass_y[:, -1:] + mass_y[:, :1]) / 2) / step2
    # (B, n) each: what a ray's column and its row add to along and across.
    along_x, along_y, across_x, across_y = (
        step_x * dx,
        step_y * dy,
        -step_y * dx,
        step_x * dy,
    )
    along = along_x.to(dtype)[:, None, :] + along_y.to(dtype)[:, :, None]
    across = across_x.to(dtype)[:, None, :] + across_y.to(dtype)[:, :, None]
    near = (across.abs() < _NEAR) & (along.abs() < half + _NEAR)
    image, row, column = near.nonzero(as_tuple=True)

    to_start, to_end = along + half, along.sub_(half)
    across2 = across.square()
    start2, end2 = to_start.square().add_(across2), to_end.square().add_(across2)
    # log((w + half) / (w - half)), then -(1 / (w - half)^2 - 1 / (w + half)^2) / 24
    real = torch.div(start2, end2).log_().mul_(0.5)
    angle = torch.mul(to_start, to_end).add_(across2)
    imaginary = torch.atan2(torch.mul(across, -2 * half), angle, out=angle)
    start2.square_().reciprocal_().mul_(1 / 24)
    end2.square_().reciprocal_().mul_(1 / 24)
    real += torch.addcmul(-across2, to_start, to_start).mul_(start2)
    real -= torch.addcmul(-across2, to_end, to_end).mul_(end2)
    to_start.mul_(across).mul_(start2)
    to_end.mul_(across).mul_(end2)
    imaginary += to_end.sub_(to_start).mul_(2)

    offset = torch.arange(count, dtype=axis.dtype, device=axis.device) - (count - 1) / 2
    soft = _SOFTENING / step2
    rays = max(1, _NEAR_ELEMENTS // count)
    for start in range(0, len(image), rays):
        at = tuple(index[start : start + rays] for index in (image, row, column))
        u = (along_x[at[0], at[2]] + along_y[at[0], at[1]])[:, None] - offset
        v = (across_x[at[0], at[2]] + across_y[at[0], at[1]])[:, None]
        weight = (u.square() + v.square()).add_(soft[at[0]]).reciprocal_()
        real[at] = (u * weight).sum(1).to(dtype)
        imaginary[at] = -(v * weight).sum(1).to(dtype)

    # The complex conjugate of the deflection is the sum over the step, as a number.
    scale_x, scale_y = (
        (theta2[:, :1] / step2 * step).to(dtype)[..., None] for step in (step_x, step_y)
    )
    total_x = torch.mul(real, scale_x).addcmul_(imaginary, scale_y)
    total_y = real.mul_(scale_y).addcmul_(imaginary, scale_x, value=-1)
    return total_x, total_y


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
    major, minor = (
        (cos * dx).addcmul_(sin, dy),
        dy.mul_(cos).addcmul_(sin, dx, value=-1),
    )
    r2 = major.square_().mul_(q).addcmul_(minor.square_(), 1 / q).div_(radius**2)
    b = k_lenstronomy(index)
    # The power, as the exponential of a logarithm: faster.
    light: Tensor = r2.log_().mul_(0.5 / index).exp_().mul_(-b).add_(b).exp_()
    return light


def add_sersic(
    light: Tensor,
    x: Tensor,
    y: Tensor,
    source: dict[str, Tensor],
    index: Tensor,
    radius: Tensor,
    amplitude: Tensor,
) -> Tensor:
    """Light and `amplitude` times `sersic`; all of x and y is left as it is."""
    return light + amplitude * sersic(x.clone(), y.clone(), source, index, radius)


def gaussian_kernel(sigma: float, size: int) -> Tensor:
    """One axis of the point-spread function, sampled at pixel centres, of sum 1.

    Args:
        sigma: Width in pixels.
        size: Number of pixels, odd.

    Returns:
        (size,) float64 kernel; its outer product with itself is the full kernel.
    """
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    return kernel / kernel.sum()


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
    """As `gaussian_kernel`, one for each of (B,) widths: (B, size)."""
    offset = torch.arange(size, dtype=sigma.dtype, device=sigma.device) - size // 2
    weights = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    return weights / weights.sum(1, keepdim=True)


def blur_each(image: Tensor, weights: Tensor) -> Tensor:
    """As `blur`, with (B, size, 1, 1) kernels, one for each image or one for all."""
    size = weights.shape[1]
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
    image = blur(image, gaussian_kernel(width, recipe.psf_size))
    factor = lens["exposure"] * recipe.amplitude / recipe.supersampling**2
    return image.mul_(factor.to(dtype)[:, None, None]).add_(recipe.noise.sky)
