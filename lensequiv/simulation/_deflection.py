"""How halos, shear and point masses bend rays, on batches of images; see `_physics`."""

from __future__ import annotations

import torch
from torch import Tensor

from lensequiv.simulation._kernels import has_kernels, sum_masses

_CORE = 1e-10  # arcsec: keeps a ray through the centre finite
_SOFTENING = 1e-16  # arcsec^2: keeps a ray through a point mass finite
_NEAR = 8.0  # spacings of a line of masses, within which they are summed one by one
_NEAR_ELEMENTS = 2**21  # bounds the memory of that sum


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
    from caustics.lenses import func

    x, y = axis.to(dtype)[None, None, :], axis.to(dtype)[None, :, None]
    theta_e, halo_angle, shear, shear_angle = (
        lens[name].to(dtype)[:, None, None]
        for name in ("theta_e", "halo_angle", "shear", "shear_angle")
    )
    gamma1 = func.gamma_phi_to_gamma1(shear, shear_angle)
    gamma2 = func.gamma_phi_to_gamma2(shear, shear_angle)
    shear_x, shear_y = func.reduced_deflection_angle_external_shear(
        0.0, 0.0, gamma1, gamma2, x, y
    )
    if axis_ratio == 1:
        halo_x, halo_y = func.reduced_deflection_angle_sis(
            0.0, 0.0, theta_e, x, y, _CORE
        )
    else:
        # On the device without a copy, which would have to be waited for.
        q = torch.full((), axis_ratio, dtype=dtype, device=axis.device)
        halo_x, halo_y = func.reduced_deflection_angle_sie(
            0.0, 0.0, q, halo_angle, theta_e, x, y, _CORE
        )
    beta_x, beta_y = (x - shear_x).sub_(halo_x), (y - shear_y).sub_(halo_y)
    if lens["mass_x"].shape[1]:
        masses = (lens["mass_x"], lens["mass_y"], lens["mass_theta2"])
        by_masses = line_deflection if straight else point_deflection
        if has_kernels(axis.device):
            by_masses = summed_deflection
        mass_x, mass_y = by_masses(axis, *masses, dtype=dtype)
        beta_x -= mass_x
        beta_y -= mass_y
    return beta_x, beta_y


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
