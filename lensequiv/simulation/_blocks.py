"""Draw parameters, render, add noise: in blocks, so that seeds mean something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from lensequiv._threads import map_in_threads
from lensequiv.simulation._checks import rendering_device
from lensequiv.simulation._draw import BLOCK, Arrays, draw, rotate, stack
from lensequiv.simulation._observe import generator_of, observe_batch, observe_each
from lensequiv.simulation._physics import check_extra
from lensequiv.simulation._rerender import render_on
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["iter_blocks", "keep_memory", "simulate_range"]

# Images that are handed on together, and that a worker makes at a time.
_TASK, _PIECE = 64, 16
# The same on another device than the processor.
_DEVICE_PIECE = 16 * BLOCK


def simulate_range(
    recipe: Recipe,
    label: int,
    seed: int,
    start: int,
    stop: int,
    *,
    rotation: float = 0.0,
    noise: bool = True,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Arrays]:
    """Simulates images `start` to `stop` of one class, in the calling thread.

    Parameters come from one random stream a block of `BLOCK` lenses, noise from one
    an image: an image depends on recipe, class, seed and index alone.

    Args:
        recipe: The recipe.
        label: Index of the class.
        seed: Not negative.
        start: First image.
        stop: One past the last.
        rotation: Turns every lens anticlockwise on the sky. *Unit*: degrees.
        noise: Whether to add noise.
        device: Where to render and to draw the noise. On another than the CPU noise
            comes from one stream a block: equal in distribution, not in value.

    Returns:
        (stop - start, pixels, pixels) float32 counts on that device and their
        parameters.
    """
    check_extra()
    keep_memory()
    device = torch.device(device)
    if device.type != "cpu":
        return _simulate_on(
            device, recipe, label, seed, start, stop, rotation=rotation, noise=noise
        )
    parameters = rotate(_draw_range(recipe, label, seed, start, stop), rotation)
    straight = recipe.substructure[recipe.classes[label]].straight
    images = render_on(device, recipe, parameters, straight=straight)
    if noise:
        images = observe_each(recipe.noise, images, parameters, (seed, label, start))
    return images, parameters


def _draw_range(recipe: Recipe, label: int, seed: int, start: int, stop: int) -> Arrays:
    """The parameters of images `start` to `stop`, one random stream a block."""
    parts = []
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        drawn = draw(recipe, label, np.random.default_rng([seed, label, block]))
        first = block * BLOCK
        keep = slice(max(start - first, 0), min(stop - first, BLOCK))
        parts.append({name: value[keep] for name, value in drawn.items()})
    return {name: stack([p[name] for p in parts]) for name in parts[0]}


def _simulate_on(
    device: torch.device,
    recipe: Recipe,
    label: int,
    seed: int,
    start: int,
    stop: int,
    *,
    rotation: float,
    noise: bool,
) -> tuple[Tensor, Arrays]:
    """As `simulate_range`, with noise drawn on the device for a block at a time.

    Blocks are always whole, so that an image does not depend on `start` and `stop`.
    """
    first, last = start // BLOCK, -(-stop // BLOCK)
    drawn = _draw_range(recipe, label, seed, first * BLOCK, last * BLOCK)
    parameters = rotate(drawn, rotation)
    straight = recipe.substructure[recipe.classes[label]].straight
    images = render_on(device, recipe, parameters, straight=straight)
    if noise:
        lens = {
            name: torch.from_numpy(value).to(device)
            for name, value in parameters.items()
            if value.ndim == 1
        }
        for block in range(first, last):
            at = slice((block - first) * BLOCK, (block - first + 1) * BLOCK)
            images[at] = observe_batch(
                recipe.noise,
                images[at],
                {name: value[at] for name, value in lens.items()},
                generator_of(device, seed, label, block),
            )
    keep = slice(start - first * BLOCK, stop - first * BLOCK)
    return images[keep], {name: value[keep] for name, value in parameters.items()}


def iter_blocks(
    recipe: str | Recipe,
    label: int,
    n: int,
    *,
    seed: int,
    start: int = 0,
    rotation: float = 0.0,
    noise: bool = True,
    workers: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, Tensor, Arrays]]:
    """Simulates images `start` to `n` of one class, block by block, in order.

    The images depend on recipe, class, seed and index alone, not on `n`, `start` or
    `workers`.

    Args:
        recipe: Name or recipe.
        label: Index of the class.
        n: One past the last image.
        seed: Not negative.
        start: First image.
        rotation: Turns every lens anticlockwise on the sky. *Unit*: degrees.
        noise: Whether to add noise.
        workers: Threads; if None, as many as torch uses on the CPU, two elsewhere.
        device: Where to render and to draw the noise; the images stay there. Blocks
            are larger on another than the CPU.

    Yields:
        Index of the first image, images (B, pixels, pixels) float32 counts, and their
        parameters; see `Simulation.parameters`.

    Raises:
        ValueError: `workers` is below 1, or there is no such device.
    """
    recipe = get_recipe(recipe)
    device = rendering_device(device)
    on_cpu = device.type == "cpu"
    if workers is None:
        workers = torch.get_num_threads() if on_cpu else 2
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least 1")
    task, size = (_TASK, _PIECE) if on_cpu else (_DEVICE_PIECE, _DEVICE_PIECE)

    def piece(first: int) -> tuple[Tensor, Arrays]:
        last = min(first + size, n)
        return simulate_range(
            recipe,
            label,
            seed,
            first,
            last,
            rotation=rotation,
            noise=noise,
            device=device,
        )

    # One task's pieces, and enough to keep all workers busy meanwhile.
    waiting = task // size + 2 * workers
    pieces = map_in_threads(piece, range(start, n, size), workers, waiting)
    with closing(pieces):
        for first in range(start, n, task):
            done = list(islice(pieces, task // size))
            yield (
                first,
                torch.cat([images for images, _ in done]),
                {name: stack([p[name] for _, p in done]) for name in done[0][1]},
            )


@cache
def keep_memory() -> None:
    """Makes glibc keep freed memory for the next step, once for the whole process.

    It returns large blocks to the system at once, and getting them back costs ten
    times what is computed in them. Freeing one block just below 32 MiB raises that
    bound to its size (mallopt(3), M_MMAP_THRESHOLD: "dynamic"). The block is never
    written to, so it costs nothing, and other allocators take no notice.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)
