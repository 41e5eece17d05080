"""Deflection by extended subhalos.

It is written as theta^2 f(r) / r, where theta is the Einstein radius that the halo's
M_200 would have as a point, and f the projected mass within r in units of M_200. In
units of the scale radius, f / r^2 has one shape for all NFW halos and one for each
truncation: these are read from tables, linear in the logarithm of the radius, to 1e-5.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["halo_deflection", "nfw_mass", "truncated_nfw_mass"]

# The tables reach from _INNER to _OUTER scale radii. Their rows are an isothermal
# sphere, an untruncated halo, and halos truncated at _TAU scale radii and more, by
# equal factors: what lies between is cubic in the logarithm.
_TABLE, _INNER, _OUTER = 9000, 3e-5, 3e4
_TRUNCATIONS, _TAU = 141, (1e-2, 1e4)
# Numbers of tables at a time: on the processor as many as its cache holds, elsewhere as
# many as may be in memory a few times.
_TABLE_NUMBERS = 2**17
_DEVICE_TABLE_NUMBERS = 2**24
_TINY = 1e-4  # arcsec: rays are no nearer to a centre


def _arc(x: Tensor) -> Tensor:
    """arccos(1 / x) / sqrt(x^2 - 1), which is 1 at x = 1."""
    inside, outside = x.clamp(max=1 - 1e-6), x.clamp(min=1 + 1e-6)
    below = torch.acosh(1 / inside) / torch.sqrt(1 - inside**2)
    above = torch.acos(1 / outside) / torch.sqrt(outside**2 - 1)
    return torch.where(x < 1, below, above)


def nfw_mass(x: Tensor) -> Tensor:
    """Projected mass of an NFW halo within a radius; see `_whole` for the unit.

    Bartelmann 1996, eq. 2.10 ff.

    Args:
        x: Radius in units of the scale radius.
    """
    return torch.log(x / 2) + _arc(x)


def truncated_nfw_mass(x: Tensor, tau: Tensor) -> Tensor:
    """The same for the NFW halo times 1 / (1 + (r / r_t)^2).

    Baltz, Marshall & Oguri 2009, eq. A.11; M_200 is that of the halo before truncation,
    as in lenstronomy's `TNFW`.

    Args:
        x: Radius in units of the scale radius.
        tau: Truncation radius r_t over the scale radius.
    """
    t2, root = tau**2, torch.sqrt(tau**2 + x**2)
    log = torch.log(x / (root + tau))
    mass = (t2 + 1 + 2 * (x**2 - 1)) * _arc(x) + tau * math.pi
    mass = mass + (t2 - 1) * torch.log(tau)
    mass = mass + root * (-math.pi + (t2 - 1) / tau * log)
    return t2 / (t2 + 1) ** 2 * mass


@lru_cache(maxsize=4)
def _shapes(device: torch.device) -> Tensor:
    """F / r^2 in units of the scale radius, (2 + _TRUNCATIONS, _TABLE) float64."""
    log = torch.linspace(math.log(_INNER), math.log(_OUTER), _TABLE, dtype=torch.double)
    low, high = (math.log10(bound) for bound in _TAU)
    tau = torch.logspace(low, high, _TRUNCATIONS, dtype=torch.double)
    x = log.exp()
    # Within r_200 the sphere holds M_200; its projection within R is pi / 2 R / r_200.
    rows = [math.pi / 2 * x, nfw_mass(x), *truncated_nfw_mass(x, tau[:, None])]
    # Near the centre the sums cancel; the mass goes there as r^2 and a logarithm.
    return (torch.stack(rows).clamp(min=0) / x**2).to(device)


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
    """Deflection by isothermal, NFW and truncated NFW halos.

    Args:
        axis: (n,) float64 positions of the rays along either axis.
        mass_x: (B, K) float64 positions and squared Einstein radii of M_200 as points.
        mass_y: See `mass_x`.
        theta2: See `mass_x`.
        concentration: (B, K) r_200 over the scale radius; -1 for a singular isothermal
            sphere. 0 needs theta2 0.
        scale: (B, K) scale radii; for the isothermal sphere r_200. *Unit*: arcsec.
        truncation: (B, K) truncation over scale radius; infinite without truncation.
        dtype: Of the result.

    Returns:
        x and y components, (B, n, n) `dtype` each. *Unit*: arcsec.
    """
    total_x = axis.new_zeros(len(mass_x), len(axis), len(axis), dtype=dtype)
    total_y = torch.zeros_like(total_x)
    dx, dy = ((axis - at[..., None]).to(dtype) for at in (mass_x, mass_y))
    size = torch.where(scale > 0, scale, 1.0)
    numbers = _TABLE_NUMBERS if axis.device.type == "cpu" else _DEVICE_TABLE_NUMBERS
    together = max(1, numbers // (_TABLE * max(1, len(mass_x))))
    for first in range(0, mass_x.shape[1], together):
        some = slice(first, first + together)
        tables = _rows(concentration[:, some], truncation[:, some])
        tables *= (theta2 / size.square())[:, some, None]
        tables = tables.to(dtype)
        for k in range(tables.shape[1]):
            column, row = dx[:, first + k, None, :], dy[:, first + k, :, None]
            square = column.square() + row.square()
            weight = _read(tables[:, k], square, size[:, first + k].log().to(dtype))
            total_x.addcmul_(column, weight)
            total_y.addcmul_(row, weight)
    return total_x, total_y


def _whole(concentration: Tensor) -> Tensor:
    """M_200 in units of 4 pi rho_s r_s^3, in which projected masses are given."""
    return torch.log1p(concentration) - concentration / (1 + concentration)


def _rows(concentration: Tensor, truncation: Tensor) -> Tensor:
    """The shape of each halo in units of M_200, (B, K, _TABLE) float64."""
    shapes = _shapes(concentration.device)
    low, high = (math.log(bound) for bound in _TAU)
    finite = torch.isfinite(truncation) & (truncation > 0) & (concentration >= 0)
    log = torch.where(finite, truncation, 1.0).clamp(*_TAU).log()
    place = (log - low) / (high - low) * (_TRUNCATIONS - 1)
    below = place.floor().clamp(1, _TRUNCATIONS - 3)
    t = place - below
    plain = torch.where(concentration < 0, 0, 1)
    # Lagrange's polynomial through four rows; once the row itself without truncation.
    weights = (
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    )
    rows = torch.zeros((*t.shape, _TABLE), dtype=t.dtype, device=t.device)
    for step, weight in enumerate(weights):
        row = torch.where(finite, below.long() + step + 1, plain)
        weight = torch.where(finite, weight, float(step == 0))
        chosen = shapes.index_select(0, row.flatten()).view_as(rows)
        rows.addcmul_(weight[..., None], chosen)
    whole = torch.where(concentration > 0, _whole(concentration.clamp(min=0.1)), 1.0)
    return rows.div_(whole[..., None])


def _read(table: Tensor, square: Tensor, log_size: Tensor) -> Tensor:
    """Values of (B, _TABLE) tables at squared radii (B, n, n); overwrites these.

    `log_size` (B,) is the logarithm of the scale radius.
    """
    low = math.log(_INNER)
    step = (math.log(_OUTER) - low) / (_TABLE - 1)
    place = square.clamp_min_(_TINY**2).log_().mul_(0.5 / step)
    place.sub_((log_size + low)[:, None, None] / step).clamp_(0, _TABLE - 1.001)
    below = place.floor()
    part = place.sub_(below)
    index = below.long().flatten(1)
    left = table.gather(1, index).view_as(part)
    right = table.gather(1, index.add_(1)).view_as(part)
    return left.lerp_(right, part)
