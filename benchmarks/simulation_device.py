"""Simulation on a device, beside this machine's cores and caustics on that device.

`python benchmarks/simulation.py --device cuda` runs this. For each recipe:

- `stream`: `LensStream`, 97 x 97 pixels with poses and noise, numbers drawn ahead;
- `stream, numbers drawn`: the same without the drawing, so the device alone;
- `stream, numbers drawn, without kernel`: that, mass by mass;
- `drawing`: the numbers alone, in one thread;
- `simulate`: whole frames with noise, on the device;
- `cores`: `simulate` on this machine's processor, all its cores;
- `caustics`: whole frames by caustics' functions on the device, without drawing: its
  halo, shear, point masses and Sersic source, batched by broadcasting; pixels, blurring
  and noise are ours, and its noiseless images are compared with ours before;
- `jaxtronomy, smooth lenses`: see `simulation_jaxtronomy.py`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import torch
from simulation_jaxtronomy import beside_jaxtronomy
from torch import Tensor

from lensequiv.simulation import (
    LensStream,
    PoissonSky,
    Recipe,
    _deflection,
    _scene,
    get_recipe,
    render_lenses,
    simulate,
)
from lensequiv.simulation._chunk import GROUPS, expose, prepare, render
from lensequiv.simulation._kernels import has_kernels
from lensequiv.simulation._physics import (
    blur_each,
    gaussian_weights,
    ray_grid,
    sum_blocks,
)

__all__ = ["measure_device"]

_ELEMENTS = 2e9  # of caustics' largest intermediate result: 8 GB
_CORE = 1e-10


def measure_device(
    device: torch.device, recipes: list[str], *, quick: bool = False
) -> dict[str, dict[str, float | str]]:
    """Measures each recipe, prints a line for each, and returns images per second."""
    name = str(device)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    print(f"{name}, torch {torch.__version__}, {threads} threads; images/s")
    found: dict[str, dict[str, float | str]] = {}
    for recipe in map(get_recipe, recipes):
        row = _measure(device, recipe, quick)
        found[recipe.name] = {"device": name, **row}
        told = ", ".join(f"{key} {_short(value)}" for key, value in row.items())
        print(f"{recipe.name}: {told}", flush=True)
    return found


def _measure(
    device: torch.device, recipe: Recipe, quick: bool
) -> dict[str, float | str]:
    on_cpu = device.type == "cpu"
    chunk = 48 if on_cpu else 3072
    size = 97 if recipe.pixels > 110 else 49
    seconds = 1.0 if quick else 4.0
    stream = LensStream(recipe, seed=1, size=size, chunk=chunk, device=device)
    start = time.perf_counter()
    stream.chunk(0)
    _wait(device)
    row: dict[str, float | str] = {"first chunk, s": time.perf_counter() - start}
    _peak(device)
    running = stream.chunks(1)
    row["stream"] = _rate(lambda: next(running), chunk, device, seconds)
    running.close()
    if device.type == "cuda":
        row["stream, peak GiB"] = _peak(device)
    jobs = [stream._job(number, range(GROUPS)) for number in range(3)]
    drawn = itertools.cycle([prepare(job) for job in jobs])
    row["stream, numbers drawn"] = _rate(
        lambda: expose(render(next(drawn))), chunk, device, seconds
    )
    if has_kernels(device):
        with ExitStack() as stack:
            for module in (_deflection, _scene):
                stack.enter_context(patch.object(module, "has_kernels", _never))
            row["stream, numbers drawn, without kernel"] = _rate(
                lambda: expose(render(next(drawn))), chunk, device, seconds / 2
            )
    again = itertools.cycle(jobs)
    row["drawing"] = _rate(lambda: prepare(next(again)), chunk, device, seconds / 2)
    many = 48 if on_cpu else 6144
    simulate(recipe, many, seed=0, device=device)
    row["simulate"] = _rate(
        lambda: simulate(recipe, many, seed=2, device=device), many, device, seconds
    )
    few = 16 * torch.get_num_threads() * len(recipe.classes)  # a piece for each thread
    row["cores"] = _rate(lambda: simulate(recipe, few, seed=2), few, device, seconds)
    row["simulate over cores"] = row["simulate"] / row["cores"]
    if recipe.is_plain and isinstance(recipe.noise, PoissonSky):
        row |= _beside_caustics(device, recipe, seconds)
        row["simulate over caustics"] = row["simulate"] / row["caustics"]
        row |= beside_jaxtronomy(device, recipe, seconds)
    return row


def _beside_caustics(
    device: torch.device, recipe: Recipe, seconds: float
) -> dict[str, float]:
    """Its rate over the classes in equal parts, and how its images differ."""
    sample = simulate(recipe, 48, seed=1, noise=False, device=device)
    generator = torch.Generator(device).manual_seed(0)
    took, difference = 0.0, 0.0
    labels = sample.labels.cpu().numpy()
    for label in range(len(recipe.classes)):
        which = labels == label
        drawn = {name: value[which] for name, value in sample.parameters.items()}
        if label == 0:
            drawn |= {k: v[:, :0] for k, v in drawn.items() if v.ndim == 2}
        lens = {k: torch.from_numpy(v).to(device).float() for k, v in drawn.items()}
        straight = recipe.substructure[recipe.classes[label]].straight
        ours = render_lenses(recipe, drawn, straight=straight, device=device)
        theirs = _by_caustics(recipe, lens)
        error = (ours - theirs).abs() / ours.amax((1, 2), keepdim=True)
        difference = max(difference, float(error.max()))

        def noisy(lens: dict[str, Tensor] = lens) -> Tensor:
            clean = _by_caustics(recipe, lens)
            return recipe.noise.add_batch(clean, lens, generator)

        took += 1 / _rate(noisy, int(which.sum()), device, seconds / 3)
    return {
        "caustics": len(recipe.classes) / took,
        "largest difference from caustics over peak": difference,
    }


def _by_caustics(recipe: Recipe, lens: dict[str, Tensor]) -> Tensor:
    """Noiseless images, (B, pixels, pixels), as many masses at a time as fit."""
    from caustics.lenses import func
    from caustics.light.func import brightness_sersic, k_lenstronomy

    p = {k: v[:, None, None] for k, v in lens.items() if v.ndim == 1}
    axis = ray_grid(recipe, lens["theta_e"].device).float()
    x, y = axis[None, None, :], axis[None, :, None]
    gamma1 = func.gamma_phi_to_gamma1(p["shear"], p["shear_angle"])
    gamma2 = func.gamma_phi_to_gamma2(p["shear"], p["shear_angle"])
    bent = [
        func.reduced_deflection_angle_external_shear(0.0, 0.0, gamma1, gamma2, x, y),
        func.reduced_deflection_angle_sis(0.0, 0.0, p["theta_e"], x, y, _CORE)
        if recipe.halo_axis_ratio == 1
        else func.reduced_deflection_angle_sie(
            0.0, 0.0, recipe.halo_axis_ratio, p["halo_angle"], p["theta_e"], x, y, _CORE
        ),
    ]
    masses = [lens[f"mass_{name}"][..., None, None] for name in ("x", "y", "theta2")]
    together = max(1, int(_ELEMENTS / (len(gamma1) * len(axis) ** 2)))
    for some in zip(*(mass.split(together, 1) for mass in masses), strict=True):
        if some[0].shape[1]:
            each = func.reduced_deflection_angle_point(
                some[0], some[1], some[2].sqrt(), x, y, _CORE
            )
            bent.append(tuple(component.sum(1) for component in each))
    beta_x = x - sum(component for component, _ in bent)
    beta_y = y - sum(component for _, component in bent)
    index = torch.tensor(recipe.sersic_index)
    light = brightness_sersic(
        p["source_x"],
        p["source_y"],
        p["axis_ratio"],
        p["source_angle"],
        recipe.sersic_index,
        recipe.effective_radius / p["axis_ratio"].sqrt(),  # its major axis
        1.0,
        beta_x,
        beta_y,
        k_lenstronomy(index).item(),
    )
    image = sum_blocks(light, recipe.supersampling)
    sigma = axis.new_full((1,), recipe.psf_sigma / recipe.pixel_scale)
    weights = gaussian_weights(sigma, recipe.psf_size)
    image = blur_each(image, weights)
    factor = p["exposure"] * recipe.amplitude / recipe.supersampling**2
    return image * factor + recipe.noise.sky


def _rate(
    work: Callable[[], object], images: int, device: torch.device, seconds: float
) -> float:
    """Images per second, over at least so many seconds and twice, once warm."""
    work()
    _wait(device)
    start, times = time.perf_counter(), 0
    while times < 2 or time.perf_counter() - start < seconds:
        work()
        _wait(device)
        times += 1
    return images * times / (time.perf_counter() - start)


def _short(value: float | str) -> str:
    """Six digits of a number."""
    return value if isinstance(value, str) else f"{value:.6g}"


def _never(device: torch.device) -> bool:
    """Takes the place of `has_kernels`."""
    return False


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> float:
    """GiB that were in use at most since the last call."""
    if device.type != "cuda":
        return 0.0
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return peak
