"""Our simulation on all cores beside lenstronomy making the same images.

    python benchmarks/simulation.py [--quick] [--json FILE]
    python benchmarks/simulation.py --device cuda [--quick] [--json FILE]

The second line compares a device with this machine's cores and with caustics on that
device: see `simulation_device.py`.

Both sides make noisy images: the same rays, masses, point-spread function and noise.
lenstronomy runs as a loop in one process, as most of its users have it, and in one
process per core; it gets its arguments ready-made, while we draw ours. Rates are
medians; the sides take turns. Before timing, the noiseless images are compared.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from simulation_device import measure_device
from torch.utils.data import DataLoader

from lensequiv.files import check_output
from lensequiv.simulation import (
    RECIPES,
    LenstronomyModel,
    Recipe,
    SimulatedLenses,
    iter_blocks,
    simulate,
    to_lenstronomy,
)

CORES = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
)


def one_thread() -> None:
    """Keeps a worker process to its core."""
    torch.set_num_threads(1)


def lenstronomy_noisy(task: tuple[LenstronomyModel, Recipe, float, int]) -> np.ndarray:
    """One image with noise, the way a lenstronomy user makes it."""
    model, recipe, exposure, seed = task
    image = model.image().astype(np.float32)
    return recipe.noise.add(np.random.default_rng(seed), image, exposure)


def rate(side: Callable[[], object], images: int) -> float:
    """Images per second."""
    start = time.perf_counter()
    side()
    return images / (time.perf_counter() - start)


def compare(recipe: Recipe, pool: ProcessPoolExecutor, quick: bool) -> dict[str, float]:
    """Rates of both sides and the largest difference between their images."""
    few = 6 * len(recipe.classes) * (1 if quick else 4)
    many = few * 8
    sample = simulate(recipe, few, seed=1, noise=False)
    models = [to_lenstronomy(sample, i) for i in range(few)]
    reference = list(pool.map(LenstronomyModel.image, models))
    errors = [
        np.abs(ours - theirs).max() / theirs.max()
        for ours, theirs in zip(sample.images.double().numpy(), reference, strict=True)
    ]
    exposure = sample.parameters["exposure"]
    tasks = [(m, recipe, float(exposure[i]), i) for i, m in enumerate(models)]
    rates: dict[str, list[float]] = {"ours": [], "loop": [], "all cores": []}
    third = tasks[:: max(1, few // (3 * len(recipe.classes)))]
    for _ in range(3 if quick else 5):
        rates["ours"].append(rate(lambda: simulate(recipe, many, seed=2), many))
        rates["loop"].append(
            rate(lambda: [lenstronomy_noisy(t) for t in third], len(third))
        )
        rates["all cores"].append(
            rate(lambda: list(pool.map(lenstronomy_noisy, tasks)), few)
        )
    return {
        **{f"{name}, images/s": statistics.median(r) for name, r in rates.items()},
        **{
            f"ratio to {name}": statistics.median(
                a / b for a, b in zip(rates["ours"], rates[name], strict=True)
            )
            for name in ("loop", "all cores")
        },
        "largest difference over peak": float(max(errors)),
    }


def feed(recipe: str, quick: bool) -> float:
    """Images/s of fresh training batches from worker processes."""
    data = SimulatedLenses(recipe, batches=10 if quick else 60, batch_size=64, seed=3)
    loader = iter(DataLoader(data, batch_size=None, num_workers=CORES))
    for _ in range(4):  # starting and importing is not counted
        next(loader)
    return rate(lambda: list(loader), 64 * (len(data) - 4))


def peak_memory(images: int) -> float:
    """GiB that simulating a stream of images adds to a process at most."""
    code = f"import {Path(__file__).stem} as b; b.stream({images})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def stream(images: int) -> None:
    """What `peak_memory` runs: prints the growth of the peak, in GiB."""
    import astropy.cosmology  # noqa: F401
    import caustics.lenses.func  # noqa: F401

    before = peak_kib()
    for _ in iter_blocks("modelF", 2, images, seed=0):
        pass
    print((peak_kib() - before) / 2**20)


def peak_kib() -> int:
    """This process's largest memory so far (Linux; `getrusage` has the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--json", type=check_output, help="file to write")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--device", type=torch.device, help="compare this one instead")
    args = parser.parse_args()
    if args.device is not None:
        found = measure_device(args.device, args.recipes, quick=args.quick)
        if args.json:
            args.json.write_text(json.dumps(found, indent=2) + "\n")
        return
    results: dict[str, dict[str, float]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CORES, context, initializer=one_thread) as pool:
        for name in args.recipes:
            recipe = RECIPES[name]
            cases = {"all classes": recipe} | {
                label: replace(recipe, substructure={label: component})
                for label, component in recipe.substructure.items()
            }
            for label, case in cases.items():
                title = f"{name}, {label}"
                results[title] = row = compare(case, pool, args.quick)
                print(
                    f"{title:28s} {row['ours, images/s']:5.0f} images/s; lenstronomy "
                    f"{row['loop, images/s']:5.1f} ({row['ratio to loop']:4.1f} x), "
                    f"on all cores {row['all cores, images/s']:5.1f} "
                    f"({row['ratio to all cores']:4.1f} x); "
                    f"difference {row['largest difference over peak']:.0e}",
                    flush=True,
                )
    for name in ("modelF", "modelJ"):
        value = feed(name, args.quick)
        results[f"{name}, data loader"] = {"images/s": value}
        print(f"{name}, data loader with {CORES} workers: {value:.0f} images/s")
    value = peak_memory(640 if args.quick else 6400)
    results["memory"] = {"GiB above the start, streaming": value}
    print(f"{value:.2f} GiB more than after the imports, for a stream of vortices")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
