"""The image of a lens as `lens_fit.py` fits it: a vector to rays, light and pixels.

A vector holds the numbers of `SMOOTH`, then those of the substructure.
"""

from dataclasses import replace

import torch
from torch import Tensor

from lensequiv.plain import gaussian_kernel
from lensequiv.simulation import _physics as physics
from lensequiv.simulation import get_recipe
from lensequiv.simulation._deflection import line_deflection, point_deflection

SIZE, BORDER = 108, 5  # pixels that are fitted, and what the PSF needs around them
RECIPE = replace(get_recipe("modelJ"), pixels=SIZE + 2 * BORDER)
SMOOTH = ("ln theta_e", "g1", "g2", "x", "y", "e1", "e2", "ln R", "ln n", "ln psf")
POINTS = 100  # of a vortex


def ellipse(e1: Tensor, e2: Tensor) -> tuple[Tensor, Tensor]:
    """Axis ratio and angle of lenstronomy's ellipticity components."""
    modulus = torch.hypot(e1, e2).clamp(max=0.75)
    return (1 - modulus) / (1 + modulus), torch.atan2(e2, e1) / 2


def smooth_rays(vectors: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays meet the source behind halo and shear, (B, n, n) each."""
    p = dict(zip(SMOOTH, vectors.T, strict=False))
    none = vectors.new_zeros(len(vectors), 0)
    lens = {
        "theta_e": p["ln theta_e"].exp(),
        "halo_angle": torch.zeros_like(p["g1"]),
        "shear": torch.hypot(p["g1"], p["g2"]),
        "shear_angle": torch.atan2(p["g2"], p["g1"]) / 2,
        **dict.fromkeys(("mass_x", "mass_y", "mass_theta2"), none),
    }
    return physics.deflect(axis, lens, straight=False, dtype=torch.float64)


def bent_by(
    extra: Tensor, axis: Tensor, kind: str, points: int
) -> tuple[Tensor, Tensor]:
    """Deflection by substructure, (B, n, n) each.

    Args:
        extra: (B, E): x, y, ln length, angle, theta^2 of a vortex, or x, y and theta^2
            of each point mass.
        axis: Positions of the rays.
        kind: Class.
        points: Number of a vortex's point masses.
    """
    if kind != "vort":
        x, y, theta2 = extra.reshape(len(extra), -1, 3).unbind(2)
        return point_deflection(axis, x, y, theta2, dtype=torch.float64)
    x, y, ln_length, turn, theta2 = extra.T[..., None]
    along = torch.linspace(-0.5, 0.5, points, dtype=x.dtype) * ln_length.exp()
    x, y = x + along * turn.cos(), y + along * turn.sin()
    each = (theta2 / points).expand(-1, points)
    return line_deflection(axis, x, y, each, dtype=torch.float64)


def source_light(x: Tensor, y: Tensor, vectors: Tensor) -> Tensor:
    """Brightness where rays meet the source; x and y are kept."""
    p = dict(zip(SMOOTH, vectors.T, strict=False))
    q, angle = ellipse(p["e1"], p["e2"])
    source = {"source_x": p["x"], "source_y": p["y"]}
    source |= {"axis_ratio": q, "source_angle": angle}
    index, radius = (p[name].exp()[:, None, None] for name in ("ln n", "ln R"))
    shape = (len(vectors), *x.shape[1:])
    x, y = x.expand(shape).clone(), y.expand(shape).clone()
    return physics.sersic(x, y, source, index, radius)


def observed(light: Tensor, rays: int, ln_psf: Tensor) -> Tensor:
    """Pixels from (B, n, n) light of rays, one width of the PSF for all."""
    image = physics.sum_blocks(light, rays) / rays**2
    kernel = gaussian_kernel(float(ln_psf.exp()) / 0.05, 5)
    return physics.blur(image, kernel)[:, BORDER:-BORDER, BORDER:-BORDER]


def light(vector: Tensor, kind: str, points: int = POINTS, rays: int = 2) -> Tensor:
    """The image with brightness 1 at the effective radius, (SIZE, SIZE)."""
    x, y, _ = traced(vector, kind, points, rays)
    return observed(source_light(x, y, vector[None]), rays, vector[9])[0]


def traced(
    vector: Tensor, kind: str, points: int, rays: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays meet the source, (1, n, n) each, and the grid of the rays."""
    axis = physics.ray_grid(replace(RECIPE, supersampling=rays))
    x, y = smooth_rays(vector[None], axis)
    if len(vector) > len(SMOOTH):
        bent = bent_by(vector[None, len(SMOOTH) :], axis, kind, points)
        x, y = x - bent[0], y - bent[1]
    return x, y, axis
