"""Bases of steerable kernels with the right low-frequency limit.

e2cnn samples a kernel of angular frequency m, radius R and width s,

    k(p) = w(|p|) exp(i m theta_p),    w(r) = exp(-(r - R)^2 / (2 s^2)),

on the pixels p of a small square. On the plane such a kernel answers to a smooth map
by the derivative of order m that turns as it does, and to nothing else of order m or
below. On pixels it answers to more. Around a point, a smooth map is a sum of
polynomials of order s and angular frequency n,

    r^s exp(i n theta),    n = -s, -s + 2, ..., s,

and the kernel's answer to one of them is

    sum_p w(|p|) |p|^s exp(i (m + n) theta_p).

The pixels have the symmetries of the square, so the sum vanishes unless m + n = q is a
multiple of 4, and is then a sum of cosines. q = 0 is the wanted derivative. All other q
are the lattice's doing: they turn by another angle than the kernel, so that the answer
to a turned map is not the turned answer, however smooth the map is. Two examples:

* m = 2, s = 2, q = 4 in 3 x 3 pixels. The sum is 4 w(1) - 8 w(sqrt 2): it vanishes if
  corners weigh half as much as edges (a width of 0.352). e2cnn's width of 0.4 makes it
  0.585. A kernel turned by 45 degrees is then 1.17 times as strong as unturned.
* m = 3 or m = 4 in 7 x 7 pixels and more. The kernel answers to the map's gradient
  (s = 1) or to its value (s = 0), which exceed all higher derivatives of a smooth map.

`isotropic_factors` changes the weights of the pixels until these sums vanish: those of
order s <= m; for m = 0 and 1, which have none, the first that there is (s = 4 and 3).
Pixels at equal places of the square keep equal weights, so turns by 90 degrees and
mirror images stay exact. Among all such weights it takes those that are closest to the
sampled ones, w' = w (1 + d) with the least sum of w d^2, a linear problem with as many
unknowns as there are sums.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["isotropic_factors", "make_isotropic"]

Array = NDArray[np.float64]


def _pixels(size: int) -> tuple[Array, Array]:
    """Distance from the centre and angle of the pixels of a square, (size * size,)."""
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    return np.hypot(x, y).ravel(), np.arctan2(y, x).ravel()


@functools.cache
def isotropic_factors(size: int, radius: float, sigma: float, frequency: int) -> Array:
    """What the pixels of a sampled kernel are multiplied by; see the module.

    Args:
        size: Side of the kernel in pixels, odd.
        radius: Of the ring. *Unit*: pixels.
        sigma: Width of the ring. *Unit*: pixels.
        frequency: Angular frequency m of the kernel.

    Returns:
        (size * size,) float64; ones if the sums vanish already.

    Raises:
        ValueError: `size` is even, or the kernel has too few pixels for its frequency,
            so that no weights make the sums vanish.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size={size}: expected an odd number of pixels")
    m = abs(int(frequency))
    if radius == 0 or size == 1:
        return np.ones(size * size)
    distance, angle = _pixels(size)
    weight = np.exp(-((distance - radius) ** 2) / (2 * sigma**2))
    if m > 0:  # e2cnn leaves the central pixel to frequency 0
        weight[distance == 0] = 0
    order = max(m, 4 - m)
    sums = np.array(
        [
            (distance / radius) ** s * np.cos(q * angle)
            for q in range(4, m + order + 1, 4)
            for s in range(abs(q - m), order + 1, 2)
        ]
    )
    # Scaled, so that rounding and the limit below are relative.
    sums /= np.sqrt((sums**2 * weight).sum(1, keepdims=True))
    before = sums @ weight
    solution = np.linalg.lstsq((sums * weight) @ sums.T, before, rcond=1e-12)[0]
    factors: Array = 1 - sums.T @ solution
    corrected = weight * factors
    left = np.abs(sums @ corrected).max() / np.sqrt(weight.sum())
    # With too few pixels the only solution is no kernel at all.
    if left > 1e-6 or np.square(corrected).sum() < 0.01 * np.square(weight).sum():
        raise ValueError(
            f"kernels of {size} x {size} pixels have no isotropic ring of radius "
            f"{radius:g} with angular frequency {m}; expected larger kernels or lower "
            "frequencies"
        )
    return factors


def make_isotropic(conv: Any) -> None:
    """Gives the basis of a convolution the right low-frequency limit, in place.

    Every element keeps its norm, on which the initialisation relies. A filter that was
    expanded before belongs to the old basis.

    Args:
        conv: A `lensequiv._e2cnn.R2Conv`, which owns its basis.

    Raises:
        ValueError: See `isotropic_factors`.
    """
    size = conv.kernel_size
    for block in conv.basisexpansion._modules.values():
        basis: Tensor = block.sampled_basis
        factors = np.stack(
            [
                isotropic_factors(
                    size, float(a["radius"]), float(a["sigma"]), int(a["frequency"])
                )
                for a in block.attributes
            ]
        )
        old = basis.flatten(1).double()
        new = basis.double() * torch.from_numpy(factors)[:, None, None, :]
        norms = old.norm(dim=1) / new.flatten(1).norm(dim=1)
        block.sampled_basis.copy_(new * norms[:, None, None, None])
