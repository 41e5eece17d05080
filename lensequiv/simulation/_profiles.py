"""Deflections of single components, as functions of tensors that broadcast.

Positions and Einstein radii are in arcsec, angles in radians, in the frame of
`_physics`. A halo's deflection is written as theta^2 f(r) / r, where theta is the
Einstein radius that its reference mass would have as a point, and f the projected mass
within r in units of the reference mass: 1 for a point.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "halo_deflection",
    "halo_weight",
    "multipole_deflection",
    "nfw_mass",
    "power_law_deflection",
    "truncated_nfw_mass",
]

_ACCURACY = 1e-7  # of the series for elliptical power laws
_TINY = 1e-10  # arcsec: keeps a ray through the centre finite

# Shapes of extended subhalos are read from tables over the radius, from 1e-4 to 100
# arcsec: linear in the logarithm of the radius, to 1e-5 of the deflection.
_TABLE, _INNER, _OUTER = 6000, 1e-4, 1e2
_TABLE_NUMBERS = 2**24  # of tables at a time: a few times as many are in memory


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
        last, after = (c - after).addcmul_(twice, last), last
    if len(coefficients) == 1:
        real, imaginary = last, torch.zeros_like(last)
    else:
        real = (coefficients[0] - after).addcmul_(cos_2, last)
        imaginary = last * (a * b).mul_(2).div_(square)
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


def _arc(x: Tensor) -> Tensor:
    """arccos(1 / x) / sqrt(x^2 - 1), which is 1 at x = 1."""
    inside, outside = x.clamp(max=1 - 1e-6), x.clamp(min=1 + 1e-6)
    below = torch.acosh(1 / inside) / torch.sqrt(1 - inside**2)
    above = torch.acos(1 / outside) / torch.sqrt(outside**2 - 1)
    return torch.where(x < 1, below, above)


def nfw_mass(x: Tensor, concentration: Tensor) -> Tensor:
    """Projected mass of an NFW halo within a radius, in units of M_200.

    Bartelmann 1996, eq. 2.10 ff.

    Args:
        x: Radius in units of the scale radius.
        concentration: r_200 over the scale radius.
    """
    whole = torch.log1p(concentration) - concentration / (1 + concentration)
    return (torch.log(x / 2) + _arc(x)) / whole


def truncated_nfw_mass(x: Tensor, concentration: Tensor, tau: Tensor) -> Tensor:
    """The same for the NFW halo times 1 / (1 + (r / r_t)^2).

    Baltz, Marshall & Oguri 2009, eq. A.11; M_200 is that of the halo before truncation,
    as in lenstronomy's `TNFW`.

    Args:
        x: Radius in units of the scale radius.
        concentration: r_200 over the scale radius.
        tau: Truncation radius r_t over the scale radius.
    """
    whole = torch.log1p(concentration) - concentration / (1 + concentration)
    t2, root = tau**2, torch.sqrt(tau**2 + x**2)
    log = torch.log(x / (root + tau))
    mass = (t2 + 1 + 2 * (x**2 - 1)) * _arc(x) + tau * math.pi
    mass = mass + (t2 - 1) * torch.log(tau)
    mass = mass + root * (-math.pi + (t2 - 1) / tau * log)
    return t2 / (t2 + 1) ** 2 * mass / whole


def halo_weight(
    radius: Tensor, concentration: Tensor, scale: Tensor, tau: Tensor
) -> Tensor:
    """f(r) / r^2: times theta^2 and the offset it is the deflection.

    Args:
        radius: *Unit*: arcsec.
        concentration: r_200 over the scale radius; -1 for a singular isothermal sphere,
            whose M_200 and r_200 are meant.
        scale: Scale radius; for the isothermal sphere r_200. *Unit*: arcsec.
        tau: Truncation over scale radius; infinite without truncation.
    """
    x = radius / scale
    c = concentration.clamp(min=0.1)
    finite = torch.isfinite(tau)
    mass = torch.where(
        finite,
        truncated_nfw_mass(x, c, torch.where(finite, tau, 1.0)),
        nfw_mass(x, c),
    )
    # Within r_200 the sphere holds M_200; its projection within R is pi / 2 R / r_200.
    mass = torch.where(concentration < 0, math.pi / 2 * x, mass)
    # Near the centre the sums above cancel; the mass goes there as r^2 and a logarithm.
    return mass.clamp(min=0) / radius**2


def halo_deflection(
    axis: Tensor,
    mass_x: Tensor,
    mass_y: Tensor,
    theta2: Tensor,
    concentration: Tensor,
    scale: Tensor,
    truncation: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Deflection by extended subhalos, read from a table for each.

    Args:
        axis: (n,) float64 positions of the rays along either axis.
        mass_x: (B, K) float64 positions and squared Einstein radii of M_200 as points.
        mass_y: See `mass_x`.
        theta2: See `mass_x`.
        concentration: (B, K); see `halo_weight`. 0 counts as 1 and needs theta2 0.
        scale: (B, K) scale radii. *Unit*: arcsec.
        truncation: (B, K) truncation over scale radius.
        dtype: Of the result.

    Returns:
        x and y components, (B, n, n) `dtype` each. *Unit*: arcsec.
    """
    total_x = axis.new_zeros(len(mass_x), len(axis), len(axis), dtype=dtype)
    total_y = torch.zeros_like(total_x)
    dx, dy = ((axis - at[..., None]).to(dtype) for at in (mass_x, mass_y))
    together = max(1, _TABLE_NUMBERS // (_TABLE * max(1, len(mass_x))))
    for first in range(0, mass_x.shape[1], together):
        some = slice(first, first + together)
        shapes = (value[:, some] for value in (concentration, scale, truncation))
        tables = _tables(theta2[:, some], *shapes).to(dtype)
        for k in range(tables.shape[1]):
            column, row = dx[:, first + k, None, :], dy[:, first + k, :, None]
            weight = _read(tables[:, k], column.square() + row.square())
            total_x.addcmul_(column, weight)
            total_y.addcmul_(row, weight)
    return total_x, total_y


def _tables(
    theta2: Tensor, concentration: Tensor, scale: Tensor, truncation: Tensor
) -> Tensor:
    """What the offset is multiplied with, for each halo: (B, K, _TABLE) float64."""
    grid = torch.linspace(
        math.log(_INNER),
        math.log(_OUTER),
        _TABLE,
        dtype=theta2.dtype,
        device=theta2.device,
    )
    safe = torch.where(concentration == 0, 1.0, concentration)[..., None]
    size = torch.where(scale > 0, scale, 1.0)[..., None]
    cut = torch.where(truncation > 0, truncation, 1.0)[..., None]
    return halo_weight(grid.exp(), safe, size, cut) * theta2[..., None]


def _read(table: Tensor, square: Tensor) -> Tensor:
    """Values of (B, _TABLE) tables at squared radii (B, n, n); overwrites these."""
    lows = math.log(_INNER)
    step = (math.log(_OUTER) - lows) / (_TABLE - 1)
    place = square.clamp_min_(_INNER**2).log_()
    place.mul_(0.5 / step).sub_(lows / step).clamp_(0, _TABLE - 1.001)
    below = place.floor()
    part = place.sub_(below)
    index = below.long().flatten(1)
    low = table.gather(1, index).view_as(part)
    high = table.gather(1, index.add_(1)).view_as(part)
    return low.lerp_(high, part)
