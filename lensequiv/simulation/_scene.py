"""Lenses with everything that a recipe may add to the study's: draws and rendering."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.plain import gaussian_kernel
from lensequiv.simulation._deflection import (
    deflect,
    line_deflection,
    point_deflection,
    summed_deflection,
)
from lensequiv.simulation._halos import halo_deflection
from lensequiv.simulation._kernels import has_kernels
from lensequiv.simulation._light_lists import LISTS, add_sersics, add_stars, has_list
from lensequiv.simulation._physics import (
    blur,
    blur_each,
    gaussian_weights,
    ray_grid,
    sersic,
    sum_blocks,
)
from lensequiv.simulation._profiles import multipole_deflection, power_law_deflection
from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation.blur import convolve
from lensequiv.simulation.detector import ElectronNoise
from lensequiv.simulation.galaxies import Galaxies, add_galaxies
from lensequiv.simulation.lights import sersic_flux
from lensequiv.simulation.substructure import log_uniform

__all__ = ["add_light", "draw_shared", "render_scene"]

Arrays = dict[str, NDArray[np.float64]]


def draw_shared(recipe: Recipe, rng: np.random.Generator, lenses: int) -> Arrays:
    """Draws what the study's sets have in common and others have lens by lens."""
    names = {
        "total_mass": recipe.total_mass,
        "amplitude": recipe.amplitude,
        "sky": recipe.noise.sky,
        "psf_sigma": recipe.psf_sigma,
        "pixel_scale": recipe.pixel_scale,
        "effective_radius": recipe.effective_radius,
        "sersic_index": recipe.sersic_index,
    }
    drawn: Arrays = {}
    for name, value in names.items():
        factors = recipe.spread.get(name, (1.0, 1.0))
        drawn[name] = value * log_uniform(rng, factors, lenses)
    if recipe.deflector is not None:
        drawn |= recipe.deflector.draw(rng, lenses)
    if recipe.blur is not None:
        drawn |= recipe.blur.draw(rng, lenses)
    if isinstance(recipe.noise, ElectronNoise):
        drawn |= recipe.noise.draw(rng, drawn)
    return drawn


def add_light(recipe: Recipe, rng: np.random.Generator, p: Arrays) -> None:
    """Draws the light components into the parameters of some lenses."""
    around = {
        "halo_axis_ratio": np.full_like(p["theta_e"], recipe.halo_axis_ratio),
        "halo_x": np.zeros_like(p["theta_e"]),
        "halo_y": np.zeros_like(p["theta_e"]),
        **p,
        "source_flux": sersic_flux(p["sersic_index"], p["effective_radius"]),
    }
    for component in recipe.lights:
        for name, value in component.draw(rng, around).items():
            p[name] = np.concatenate([p[name], value], 1) if name in p else value
    for name in ("light", "clump", "star"):
        if f"{name}_x" in p:
            _pack(p, name)


def _pack(p: Arrays, name: str) -> None:
    """Moves the used places of a list to the front and drops the others."""
    used = p[LISTS[name]] != 0
    width = used.sum(1).max(initial=0)
    order = np.argsort(~used, axis=1, kind="stable")[:, :width]
    lenses = np.arange(len(used))[:, None]
    for key in [key for key in p if key.startswith(f"{name}_")]:
        p[key] = p[key][lenses, order]


def render_scene(
    lens: dict[str, Tensor],
    recipe: Recipe,
    *,
    straight: bool,
    used: dict[str, NDArray[np.int64]],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """As `_physics.render`, for recipes that draw more lens by lens.

    Lengths are divided by the ratio of the lens's pixel scale to the recipe's, so that
    all lenses share a grid of rays. `used` says how far each lens uses each list, see
    `_rerender.used_places`.
    """
    lens = _in_pixels(lens, recipe)
    axis = ray_grid(recipe, lens["theta_e"].device)
    kinds = int(np.bitwise_or.reduce(used.get("kinds", np.zeros(1, np.int64))))
    x, y = _deflected(axis, lens, recipe, straight, dtype, kinds)
    source = {
        name: lens[name].to(dtype)
        for name in ("source_x", "source_y", "axis_ratio", "source_angle")
    }
    index, radius = (
        lens[name].to(dtype)[:, None, None]
        for name in ("sersic_index", "effective_radius")
    )
    galaxies = [c for c in recipe.lights if isinstance(c, Galaxies)]
    again = galaxies or has_list(lens, "clump")
    beta = (x.clone(), y.clone()) if again else (x, y)
    light = sersic(x, y, source, index, radius)
    for component in galaxies:
        light = add_galaxies(light, *beta, lens, component)
    if has_list(lens, "clump"):
        light = add_sersics(light, *beta, lens, "clump", used["clump"])
    if has_list(lens, "light"):
        rays = axis.to(dtype).repeat(len(light), 1)
        at = rays[:, None, :], rays[:, :, None]
        light = add_sersics(light, *at, lens, "light", used["light"])
    image = sum_blocks(light, recipe.supersampling).div_(recipe.supersampling**2)
    if has_list(lens, "star"):
        add_stars(image, lens, recipe)
    if recipe.blur is not None:
        image = convolve(image, recipe.blur.kernels(lens, recipe.psf_size).to(dtype))
    else:
        sigma = lens["psf_sigma"] / recipe.pixel_scale
        image = _blurred(image, sigma, recipe.psf_size)
    image = image * (lens["exposure"] * lens["amplitude"]).to(dtype)[:, None, None]
    if isinstance(recipe.noise, ElectronNoise):
        return image
    return image.add_(lens["sky"].to(dtype)[:, None, None])


def _in_pixels(lens: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Lengths as if the lens's pixels were the recipe's."""
    factor = recipe.pixel_scale / lens["pixel_scale"]

    def scaled(name: str, value: Tensor) -> Tensor:
        by = factor if value.ndim == 1 else factor[:, None]
        if name in ("mass_theta2", "star_flux"):
            return value * by**2
        lengths = ("_x", "_y", "_radius", "theta_e", "mass_scale")
        return value * by if name.endswith(lengths) else value

    return {name: scaled(name, value) for name, value in lens.items()}


def _deflected(
    axis: Tensor,
    lens: dict[str, Tensor],
    recipe: Recipe,
    straight: bool,
    dtype: torch.dtype,
    kinds: int,
) -> tuple[Tensor, Tensor]:
    """Where the rays meet the source plane; see `_physics.deflect`."""
    if recipe.deflector is None and "mass_concentration" not in lens:
        ratio = recipe.halo_axis_ratio
        return deflect(axis, lens, axis_ratio=ratio, straight=straight, dtype=dtype)
    p = {
        name: value.to(dtype)[:, None, None]
        for name, value in lens.items()
        if value.ndim == 1
    }
    x, y = axis.to(dtype)[None, None, :], axis.to(dtype)[None, :, None]
    gamma1 = p["shear"] * torch.cos(2 * p["shear_angle"])
    gamma2 = p["shear"] * torch.sin(2 * p["shear_angle"])
    beta_x = x - gamma1 * x - gamma2 * y
    beta_y = y - gamma2 * x + gamma1 * y
    if recipe.deflector is None:
        zero = torch.zeros_like(p["theta_e"])
        one = zero + 1
        p |= {"halo_x": zero, "halo_y": zero, "halo_slope": 2 * one}
        p |= {"halo_axis_ratio": one * recipe.halo_axis_ratio}
    off_x, off_y = x - p["halo_x"], y - p["halo_y"]
    alpha = power_law_deflection(
        off_x,
        off_y,
        p["theta_e"],
        p["halo_axis_ratio"],
        p["halo_angle"],
        p["halo_slope"],
        recipe.deflector.axis_ratio[0] if recipe.deflector else recipe.halo_axis_ratio,
    )
    beta_x -= alpha[0]
    beta_y -= alpha[1]
    if recipe.deflector is not None:
        for order, name in ((3, "third"), (4, "fourth")):
            if getattr(recipe.deflector, name)[1] > 0:
                strength = p[name] * p["theta_e"]
                alpha = multipole_deflection(
                    off_x, off_y, order, strength, p[f"{name}_angle"]
                )
                beta_x -= alpha[0]
                beta_y -= alpha[1]
    for alpha in _by_masses(axis, lens, straight, dtype, kinds):
        beta_x -= alpha[0]
        beta_y -= alpha[1]
    return beta_x, beta_y


def _by_masses(
    axis: Tensor,
    lens: dict[str, Tensor],
    straight: bool,
    dtype: torch.dtype,
    kinds: int,
) -> list[tuple[Tensor, Tensor]]:
    """Deflections by point masses and by extended subhalos.

    `kinds` says which of them there are, see `_rerender.used_places`.
    """
    masses = tuple(lens[name] for name in ("mass_x", "mass_y", "mass_theta2"))
    if not masses[0].shape[1]:
        return []
    by_points = point_deflection
    if has_kernels(axis.device):
        by_points = summed_deflection
    elif straight:
        return [line_deflection(axis, *masses, dtype=dtype)]
    if straight or "mass_concentration" not in lens:
        return [by_points(axis, *masses, dtype=dtype)]
    point = lens["mass_concentration"] == 0
    found = []
    every = slice(None)
    for which, extended in ((point, False), (~point, True)):
        if not kinds & (1 + extended):
            continue
        # Columns in which some lens has such a mass; it is zero for the others. Another
        # device would have to be waited for to learn which they are.
        columns = which.any(0).nonzero()[:, 0] if axis.device.type == "cpu" else every
        chosen = [value[:, columns] for value in masses]
        chosen[2] = torch.where(which[:, columns], chosen[2], 0.0)
        if not extended:
            found.append(by_points(axis, *chosen, dtype=dtype))
            continue
        shapes = [
            lens[f"mass_{name}"][:, columns]
            for name in ("concentration", "scale", "truncation")
        ]
        found.append(halo_deflection(axis, *chosen, *shapes, dtype=dtype))
    return found


def _blurred(image: Tensor, sigma: Tensor, size: int) -> Tensor:
    """Convolves each image with its own Gaussian; see `_physics.blur`."""
    if len(image) == 1 and image.device.type == "cpu":
        return blur(image, gaussian_kernel(float(sigma[0]), size // 2))
    weights = gaussian_weights(sigma, size).to(image.dtype)
    return blur_each(image, weights)
