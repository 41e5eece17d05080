"""Draw parameters, render, add noise: in blocks, so that seeds mean something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from operator import index

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv._threads import map_in_threads
from lensequiv.data import splits
from lensequiv.simulation._checks import rendering_device
from lensequiv.simulation._draw import BLOCK, Arrays, draw, rotate, stack
from lensequiv.simulation._observe import generator_of, observe_batch, observe_each
from lensequiv.simulation._physics import check_extra
from lensequiv.simulation._rerender import render_on
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["Simulation", "iter_blocks", "simulate"]

# Images that are handed on together, and that a worker makes at a time.
_TASK, _PIECE = 64, 16
# The same on another device than the processor.
_DEVICE_PIECE = 16 * BLOCK


@dataclass(frozen=True)
class Simulation:
    """Simulated images and the truth about them.

    Attributes:
        images: (N, pixels, pixels) float32 counts, all of the first class, then all
            of the second, and so on; on the device that was asked for.
        labels: (N,) int64, index into `classes`, beside the images.
        classes: Class names.
        parameters: float64 arrays by name. (N,): `z_lens`, `z_source`, `theta_e` (the
            isothermal sphere's Einstein radius, arcsec), `shear`, `shear_angle`
            (radians), `source_x`, `source_y` (arcsec), `axis_ratio`, `source_angle`
            (radians), `halo_angle` (radians), `substructure_mass` (solar masses, in
            total), `exposure` (see `Recipe`). (N, K):
            `mass_x`, `mass_y` (arcsec), `mass_theta2` (squared Einstein radius,
            arcsec^2) and `mass` (solar masses) of the point masses; unused places
            have mass 0. Recipes that draw more lens by lens add what they draw:
            `docs/simulation.md` lists it.
        recipe: What was simulated.
        seed: With which seed.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    parameters: Arrays
    recipe: Recipe
    seed: int

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Recipe, seed, and the number of images of each class."""
        side = self.images.shape[-1]
        return (
            f"Simulation({self.recipe.name!r}, seed {self.seed}: "
            f"{splits.class_counts(self.labels, self.classes)}, {side} x {side} pixels)"
        )


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


def class_counts(recipe: Recipe, n: int) -> list[int]:
    """Shares n images among the classes; the first ones get what is left over."""
    share, rest = divmod(n, len(recipe.classes))
    return [share + (i < rest) for i in range(len(recipe.classes))]


def checked_request(n: int, seed: int, at_least: int) -> tuple[int, int]:
    """Number of images and seed as plain integers.

    Raises:
        ValueError: One of them is out of range.
        TypeError: One of them is not a whole number.
    """
    n, seed = index(n), index(seed)
    if n < at_least:
        raise ValueError(f"n={n}: expected at least {at_least} images")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed}: expected a number from 0 to 2**32 - 1")
    return n, seed


def simulate(
    recipe: str | Recipe,
    n: int,
    *,
    seed: int,
    rotation: float = 0.0,
    noise: bool = True,
    workers: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Simulation:
    """Simulates n lenses, the classes in equal parts.

    The i-th image of a class depends on recipe and seed alone: asking for more images
    keeps the ones already made. Recipes do not enter the random stream, so with one
    seed two recipes share the draws whose ranges they share: use disjoint seeds for
    sets that must be independent, across recipes too.

    Memory is that of the result (90 kB an image) plus at most 0.3 GB (on a GPU 6 GB).

    Args:
        recipe: A name of `RECIPES` or a `Recipe`.
        n: Number of images over all classes.
        seed: From 0 to 2**32 - 1; the same seed gives the same images.
        rotation: Turns every lens anticlockwise on the sky. *Unit*: degrees.
        noise: Whether to add noise; without it the expected counts.
        workers: Threads; if None, as many as torch uses on the CPU, two elsewhere.
        device: Where to render and to draw the noise; the images stay there. On
            another device than the CPU noise has another random stream: the same seed
            gives the same images on the same device, and the same lenses on all.
        progress: Whether to show a progress bar.

    Returns:
        Images, labels and parameters.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: Unknown recipe, n or seed out of range, or no such device.
    """
    from tqdm.auto import tqdm

    recipe = get_recipe(recipe)
    n, seed = checked_request(n, seed, at_least=1)
    device = rendering_device(device)
    counts = class_counts(recipe, n)
    images = torch.empty(n, recipe.pixels, recipe.pixels, device=device)
    columns: dict[str, list[NDArray[np.float64]]] = {}
    position = 0
    with tqdm(total=n, desc=recipe.name, unit="img", disable=not progress) as bar:
        for label, count in enumerate(counts):
            for _, block, parameters in iter_blocks(
                recipe,
                label,
                count,
                seed=seed,
                rotation=rotation,
                noise=noise,
                workers=workers,
                device=device,
            ):
                images[position : position + len(block)] = block
                position += len(block)
                for name, value in parameters.items():
                    columns.setdefault(name, []).append(value)
                bar.update(len(block))
    return Simulation(
        images=images,
        labels=torch.repeat_interleave(torch.tensor(counts)).to(device),
        classes=recipe.classes,
        parameters={name: stack(parts) for name, parts in columns.items()},
        recipe=recipe,
        seed=seed,
    )
