"""Smooth lenses by JAXtronomy on a device, beside ours on the same device.

`python benchmarks/simulation.py --device cuda` runs this where `jax` and `jaxtronomy`
are installed. JAXtronomy 0.1.5 has no point masses, so the lenses are those of a
recipe's class without substructure: halo, shear and Sersic source are JAXtronomy's,
batched and compiled by JAX; pixels, blurring and Poisson noise are written in JAX here.
It gets its arguments ready-made, while we draw ours.
"""

from __future__ import annotations

import importlib.util
import os
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from lensequiv.simulation import Recipe, simulate, to_lenstronomy

__all__ = ["beside_jaxtronomy"]

_CHUNK = (2048, 16)  # lenses at a time, on an accelerator and on a processor
_TOGETHER = 128  # lenses whose rays are in memory at once


def beside_jaxtronomy(
    device: torch.device, recipe: Recipe, seconds: float
) -> dict[str, float | str]:
    """Both rates in images/s, their ratio, and how much the noiseless images differ.

    Args:
        device: `cuda` or `cpu`; JAX must see the same.
        recipe: Of plain lenses with Poisson noise.
        seconds: How long each side runs at least.
    """
    if any(importlib.util.find_spec(name) is None for name in ("jax", "jaxtronomy")):
        return {"jaxtronomy": "not installed"}
    # Otherwise JAX takes three quarters of the memory at its first use.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    kinds = {"gpu": "cuda"}
    try:
        backend = jax.default_backend()
    except RuntimeError as error:  # a driver that JAX cannot use
        return {"jaxtronomy": str(error).strip().partition("\n")[0]}
    found = kinds.get(backend, backend)
    if found != device.type:
        return {"jaxtronomy": f"JAX runs on {found}"}
    first = recipe.classes[0]
    smooth = replace(recipe, substructure={first: recipe.substructure[first]})
    many = _CHUNK[device.type == "cpu"]
    sample = simulate(smooth, many, seed=1, noise=False, device=device)
    models = [to_lenstronomy(sample, i) for i in range(many)]
    lenses = [_stacked([m.kwargs_lens[i] for m in models]) for i in range(2)]
    sources = [_stacked([m.kwargs_source[0] for m in models])]
    noisy, clean = _compiled(smooth, models[0].lens_models)
    start = time.perf_counter()
    theirs = np.asarray(clean(lenses, sources))
    warm = time.perf_counter() - start
    ours = sample.images.cpu().numpy()
    difference = float((abs(ours - theirs).max((1, 2)) / ours.max((1, 2))).max())
    keys = iter(jax.random.split(jax.random.key(0), 100_000))
    their_rate = _rate(
        lambda: noisy(lenses, sources, next(keys)).block_until_ready(), many, seconds
    )

    def simulated() -> None:
        simulate(smooth, many, seed=2, device=device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    our_rate = _rate(simulated, many, seconds)
    return {
        "jaxtronomy compiles, s": warm,
        "jaxtronomy, smooth lenses": their_rate,
        "simulate, smooth lenses": our_rate,
        "simulate over jaxtronomy": our_rate / their_rate,
        "largest difference from jaxtronomy over peak": difference,
    }


def _stacked(kwargs: list[dict[str, float]]) -> dict[str, Any]:
    """One profile's arguments of many lenses, as arrays."""
    return {
        name: np.array([one[name] for one in kwargs], np.float32) for name in kwargs[0]
    }


def _compiled(recipe: Recipe, lens_models: list[str]) -> tuple[Any, Any]:
    """Functions of stacked arguments (and a random key): noisy and expected images."""
    import jax
    from jax import numpy as jnp
    from jaxtronomy.LensModel.lens_model import LensModel
    from jaxtronomy.LightModel.light_model import LightModel

    lens, source = LensModel(lens_models), LightModel(["SERSIC_ELLIPSE"])
    pixels, fine = recipe.pixels, recipe.supersampling
    axis = (np.arange(pixels * fine) - (pixels * fine - 1) / 2) * (
        recipe.pixel_scale / fine
    )
    x, y = (jnp.asarray(a.ravel(), jnp.float32) for a in np.meshgrid(axis, axis))
    width = recipe.psf_size // 2
    sigma = recipe.psf_sigma / recipe.pixel_scale
    kernel = np.exp(-0.5 * (np.arange(-width, width + 1) / sigma) ** 2)
    bands = sum(
        np.eye(pixels, k=k) * weight
        for k, weight in enumerate(kernel / kernel.sum(), -width)
    )
    bands = jnp.asarray(bands, jnp.float32)
    multiply = partial(jnp.matmul, precision="highest")  # no TF32

    def one(lenses: Any, sources: Any) -> Any:
        at_x, at_y = lens.ray_shooting(x, y, lenses)
        light = source.surface_brightness(at_x, at_y, sources)
        image = light.reshape(pixels, fine, pixels, fine).mean((1, 3))
        image = image * recipe.pixel_scale**2
        return multiply(bands, multiply(image, bands)) + recipe.noise.sky

    @jax.jit
    def clean(lenses: Any, sources: Any) -> Any:
        together = partial(jax.lax.map, lambda a: one(*a), batch_size=_TOGETHER)
        return together((lenses, sources))

    @jax.jit
    def noisy(lenses: Any, sources: Any, key: Any) -> Any:
        return jax.random.poisson(key, clean(lenses, sources))

    return noisy, clean


def _rate(work: Any, images: int, seconds: float) -> float:
    """Images per second, over at least so many seconds and twice, once warm."""
    work()
    start, times = time.perf_counter(), 0
    while times < 2 or time.perf_counter() - start < seconds:
        work()
        times += 1
    return images * times / (time.perf_counter() - start)
