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
from lensequiv.simulation._physics import (
    check_extra,
    convention_factor,
    mass_to_arcsec2,
    virial_radius,
)
from lensequiv.simulation._rerender import Arrays, render_lenses
from lensequiv.simulation._scene import add_light, draw_shared
from lensequiv.simulation.detector import Detector
from lensequiv.simulation.halos import Combined, Halos, draw_shapes
from lensequiv.simulation.recipes import Recipe, get_recipe
from lensequiv.simulation.substructure import Range, Substructure, log_uniform

__all__ = ["Simulation", "iter_blocks", "simulate"]

# Lenses of one class drawn from one random stream. Changing it changes every image.
BLOCK = 64
# Images that are handed on together, and that a worker makes at a time.
_TASK, _PIECE = 64, 16


@dataclass(frozen=True)
class Simulation:
    """Simulated images and the truth about them.

    Attributes:
        images: (N, pixels, pixels) float32 counts, all of the first class, then all
            of the second, and so on.
        labels: (N,) int64, index into `classes`.
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


def _uniform(rng: np.random.Generator, bounds: Range) -> NDArray[np.float64]:
    return rng.uniform(*bounds, size=BLOCK)


def draw(recipe: Recipe, label: int, rng: np.random.Generator) -> Arrays:
    """Draws one block of lenses of one class; see `Simulation.parameters`."""
    degree = np.pi / 180
    p: Arrays = {
        "z_lens": _uniform(rng, recipe.z_lens),
        "z_source": _uniform(rng, recipe.z_source),
        "shear": _uniform(rng, recipe.shear),
        "shear_angle": _uniform(rng, recipe.shear_angle) * degree,
    }
    if recipe.source_square is None:
        radius = _uniform(rng, recipe.source_radius)
        angle = _uniform(rng, (0, 2 * np.pi))
        p["source_x"], p["source_y"] = radius * np.cos(angle), radius * np.sin(angle)
    else:
        p["source_x"] = _uniform(rng, recipe.source_square)
        p["source_y"] = _uniform(rng, recipe.source_square)
    p["axis_ratio"] = _uniform(rng, recipe.axis_ratio)
    p["source_angle"] = _uniform(rng, recipe.source_angle) * degree
    p["halo_angle"] = np.full(BLOCK, recipe.halo_angle * degree)
    # What only richer recipes draw comes from a stream of its own.
    more = None if recipe.is_plain else rng.spawn(1)[0]
    shared: Arrays = {} if more is None else draw_shared(recipe, more, BLOCK)
    total_mass = shared.get("total_mass", np.full(BLOCK, recipe.total_mass))
    p |= shared
    component = recipe.substructure[recipe.classes[label]]
    if any(isinstance(c, Halos | Combined) for c in recipe.substructure.values()):
        p |= _draw_halos(recipe, component, rng, total_mass, p["z_lens"])
    else:
        whole: float | NDArray[np.float64] = recipe.total_mass
        if recipe.spread:
            whole = total_mass
        p["mass_x"], p["mass_y"], p["mass"] = component.draw(rng, BLOCK, whole)
    p["substructure_mass"] = p["mass"].sum(1)
    factor = mass_to_arcsec2(p["z_lens"], p["z_source"], recipe)
    p["mass_theta2"] = p["mass"] * factor[:, None]
    halo = total_mass
    if recipe.shared_mass:
        # A drawn substructure heavier than the whole lens (1 in 1e6 for `sphere`)
        # leaves no halo.
        halo = np.maximum(halo - p["substructure_mass"], 0.0)
    p["theta_e"] = np.sqrt(halo * factor)
    if recipe.z_source_convention is not None:
        ratio = convention_factor(p["z_lens"], p["z_source"], recipe)
        for name in ("theta_e", "shear"):
            p[name] = p[name] * ratio
        p["mass_theta2"] = p["mass_theta2"] * ratio[:, None]
    p["exposure"] = log_uniform(rng, recipe.exposure, BLOCK)
    if more is not None:
        if recipe.ring is not None:
            whole_ring = np.sqrt(total_mass * factor)
            ring = log_uniform(more, recipe.ring, BLOCK)
            p["pixel_scale"] = whole_ring / ring
        add_light(recipe, more, p)
    return p


def _draw_halos(
    recipe: Recipe,
    component: Substructure,
    rng: np.random.Generator,
    total_mass: NDArray[np.float64],
    z_lens: NDArray[np.float64],
) -> Arrays:
    """Masses with their shapes."""
    masses, shapes = draw_shapes(component, rng, BLOCK, total_mass, z_lens)
    names = ("mass_x", "mass_y", "mass", "mass_concentration", "mass_truncation")
    drawn = dict(zip(names, (*masses, *shapes), strict=True))
    reach = virial_radius(drawn["mass"], z_lens, recipe)
    # The isothermal sphere (concentration -1) keeps r_200 itself.
    drawn["mass_scale"] = reach / np.abs(np.where(shapes[0] == 0, 1, shapes[0]))
    return drawn


def _rotate(p: Arrays, degrees: float) -> Arrays:
    """Turns the whole lens, source included, anticlockwise on the sky."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = dict(p)
    for name in [key.removesuffix("_x") for key in p if key.endswith("_x")]:
        x, y = p[f"{name}_x"], p[f"{name}_y"]
        turned[f"{name}_x"], turned[f"{name}_y"] = x * cos - y * sin, x * sin + y * cos
    for name in [key for key in p if key.endswith("_angle")]:
        turned[name] = p[name] + angle
    return turned


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
        device: Where to render; the result is on the CPU.

    Returns:
        (stop - start, pixels, pixels) float32 counts and their parameters.
    """
    check_extra()
    keep_memory()
    parts = []
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        drawn = draw(recipe, label, np.random.default_rng([seed, label, block]))
        first = block * BLOCK
        keep = slice(max(start - first, 0), min(stop - first, BLOCK))
        parts.append({name: value[keep] for name, value in drawn.items()})
    parameters = _rotate(
        {name: stack([p[name] for p in parts]) for name in parts[0]}, rotation
    )
    straight = recipe.substructure[recipe.classes[label]].straight
    images = render_lenses(recipe, parameters, straight=straight, device=device)
    if noise and isinstance(recipe.noise, Detector):
        images = _observe(recipe.noise, images, parameters, [seed, label, start])
    elif noise:
        for image, index, exposure in zip(
            images.numpy(), range(start, stop), parameters["exposure"], strict=True
        ):
            # The 1 keeps these streams apart from those of the parameters.
            rng = np.random.default_rng([seed, label, index, 1])
            image[:] = recipe.noise.add(rng, image, exposure)
    return images, parameters


def _observe(
    detector: Detector, images: Tensor, parameters: Arrays, key: list[int]
) -> Tensor:
    """Adds a detector's noise, from one random stream an image."""
    seed, label, start = key
    size, defects = images.shape[-1], int(parameters["defects"].max(initial=0))
    drawn = [
        detector.deviates(np.random.default_rng([seed, label, i, 1]), size, defects)
        for i in range(start, start + len(images))
    ]
    normals, hot = (torch.from_numpy(np.stack(d)) for d in zip(*drawn, strict=True))
    lens = {
        name: torch.from_numpy(value)
        for name, value in parameters.items()
        if value.ndim == 1
    }
    return detector.observe(images, lens, normals, hot)


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
        workers: Threads; as many as torch uses if None.
        device: Where to render; the images are on the CPU.

    Yields:
        Index of the first image, images (B, pixels, pixels) float32 counts, and their
        parameters; see `Simulation.parameters`.

    Raises:
        ValueError: `workers` is below 1.
    """
    recipe = get_recipe(recipe)
    workers = torch.get_num_threads() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least 1")

    def piece(first: int) -> tuple[Tensor, Arrays]:
        last = min(first + _PIECE, n)
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
    waiting = _TASK // _PIECE + 2 * workers
    pieces = map_in_threads(piece, range(start, n, _PIECE), workers, waiting)
    with closing(pieces):
        for first in range(start, n, _TASK):
            done = list(islice(pieces, _TASK // _PIECE))
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

    Memory is that of the result (90 kB an image) plus at most 0.3 GB.

    Args:
        recipe: A name of `RECIPES` or a `Recipe`.
        n: Number of images over all classes.
        seed: From 0 to 2**32 - 1; the same seed gives the same images.
        rotation: Turns every lens anticlockwise on the sky. *Unit*: degrees.
        noise: Whether to add noise; without it the expected counts.
        workers: Threads; as many as torch uses if None.
        device: Where to render; on another than the CPU one worker is enough, and
            pixels may differ where rounding decides a Poisson draw.
        progress: Whether to show a progress bar.

    Returns:
        Images, labels and parameters.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: Unknown recipe, or n or seed out of range.
    """
    from tqdm.auto import tqdm

    recipe = get_recipe(recipe)
    n, seed = checked_request(n, seed, at_least=1)
    counts = class_counts(recipe, n)
    images = torch.empty(n, recipe.pixels, recipe.pixels)
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
        labels=torch.repeat_interleave(torch.tensor(counts)),
        classes=recipe.classes,
        parameters={name: stack(parts) for name, parts in columns.items()},
        recipe=recipe,
        seed=seed,
    )


def stack(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Concatenates along the images, padding the point masses with zeros."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
    )
