"""Deflections of single components, as functions of tensors that broadcast.

Positions and Einstein radii are in arcsec, angles in radians, in the frame of
`_physics`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "multipole_deflection",
    "power_law_deflection",
]

_ACCURACY = 1e-7  # of the series for elliptical power laws
_TINY = 1e-10  # arcsec: keeps a ray through the centre finite


def power_law_deflection(
    x: Tensor,
    y: Tensor,
    theta_e: Tensor,
    axis_ratio: Tensor,
    angle: Tensor,
    slope: Tensor,
    flattest: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Deflection by an elliptical power law at the origin (Tessore & Metcalf 2015).

    The convention is lenstronomy's `EPL`: the density falls as radius to the power
    -slope, and theta_e is the radius of the circle that holds the mean density 1 on
    the ellipse's geometric mean radius.

    Args:
        x: Positions of the rays; `y` likewise.
        y: See `x`.
        theta_e: Einstein radius.
        axis_ratio: Minor over major axis, above 0 and at most 1.
        angle: Direction of the major axis.
        slope: Three-dimensional slope of the density, 2 for isothermal.
        flattest: Smallest axis ratio for which the series has to be accurate: the
            smallest here if None. Given, a lens does not depend on its neighbours in
            the batch by a bit.

    Returns:
        x and y components.
    """
    f = (1 - axis_ratio) / (1 + axis_ratio)
    t = slope - 1
    coefficients = [torch.ones_like(f)]
    flattest = float(axis_ratio.min()) if flattest is None else flattest
    for n in range(1, _terms((1 - flattest) / (1 + flattest))):
        factor = -f * (2 * n - (2 - t)) / (2 * n + (2 - t))
        coefficients.append(coefficients[-1] * factor)
    return _sum_series(x, y, theta_e, axis_ratio, angle, t, coefficients)


def _sum_series(
    x: Tensor,
    y: Tensor,
    theta_e: Tensor,
    axis_ratio: Tensor,
    angle: Tensor,
    t: Tensor,
    coefficients: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """The deflection from the coefficients of its series."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    # The ray in the frame of the axes, the major one shrunk by the axis ratio.
    a, b = (x * cos + y * sin) * axis_ratio, y * cos - x * sin
    square = (a * a + b * b).add_(_TINY**2)
    # The series is a sum of c_n exp(2 i n phi) with real c_n: Clenshaw's recurrence
    # takes two real operations a term, a twentieth of caustics' complex ones.
    cos_2 = (a * a - b * b).div_(square)
    twice = 2 * cos_2
    after = torch.zeros_like(square)
    last = after + coefficients[-1]
    for c in coefficients[-2:0:-1]:
        torch.sub(c, after, out=after)
        last, after = after.addcmul_(twice, last), last
    if len(coefficients) == 1:
        real, imaginary = last, torch.zeros_like(last)
    else:
        real = torch.sub(coefficients[0], after, out=after).addcmul_(cos_2, last)
        imaginary = last.mul_((a * b).mul_(2).div_(square))
    # (theta_e sqrt(q) / r)^t, from the square of both.
    power = (theta_e**2 * axis_ratio / square).log_().mul_(t / 2).exp_()
    power.mul_(2 / (1 + axis_ratio))
    along = (a * real).addcmul_(b, imaginary, value=-1).mul_(power)
    across = (a * imaginary).addcmul_(b, real).mul_(power)
    return along * cos - across * sin, along * sin + across * cos


def _terms(flattening: float) -> int:
    """How many terms of the series are above the accuracy."""
    if flattening < _ACCURACY:
        return 1
    return max(2, math.ceil(math.log(_ACCURACY) / math.log(flattening)))


def multipole_deflection(
    x: Tensor, y: Tensor, order: int, strength: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Deflection by a multipole of the potential r a cos(m (phi - angle)) / (1 - m^2).

    Xu et al. 2015, appendix B; lenstronomy's `MULTIPOLE`.

    Args:
        x: Positions of the rays from the centre; `y` likewise.
        y: See `x`.
        order: m, at least 2.
        strength: a. *Unit*: arcsec; about theta_e times the relative amplitude of the
            isodensity contours.
        angle: Direction.

    Returns:
        x and y components.
    """
    radius = torch.hypot(x, y).clamp_min(_TINY)
    cos, sin = x / radius, y / radius
    # The cosine and sine of m phi, by repeated multiplication.
    cos_m, sin_m = cos, sin
    for _ in range(order - 1):
        cos_m, sin_m = cos_m * cos - sin_m * sin, sin_m * cos + cos_m * sin
    turn_cos, turn_sin = torch.cos(order * angle), torch.sin(order * angle)
    factor = strength / (1 - order**2)
    outward = factor * (cos_m * turn_cos + sin_m * turn_sin)
    around = -order * factor * (sin_m * turn_cos - cos_m * turn_sin)
    return outward * cos - around * sin, outward * sin + around * cos
