"""Draw parameters, render, add noise: in blocks, so that seeds mean something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import index

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._physics import mass_to_arcsec2, render
from lensequiv.simulation.recipes import Range, Recipe, get_recipe

__all__ = ["Simulation", "iter_blocks", "simulate"]

# Images of one class drawn from one random stream. Changing it changes every image.
BLOCK = 64
# Images rendered together: few enough for the processor's cache.
_RENDER = 4
# Where unused point masses wait, arcsec: far away, with no mass.
_FAR = 1e3

Arrays = dict[str, NDArray[np.float64]]


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
            (radians), `substructure_mass` (solar masses, in total). (N, K):
            `mass_x`, `mass_y` (arcsec), `mass_theta2` (squared Einstein radius,
            arcsec^2) and `mass` (solar masses) of the point masses; unused places
            have mass 0.
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


def _uniform(rng: np.random.Generator, bounds: Range) -> NDArray[np.float64]:
    return rng.uniform(*bounds, size=BLOCK)


def _no(rng: np.random.Generator, recipe: Recipe) -> list[NDArray[np.float64]]:
    """No substructure: no point masses. Returns x, y, mass, (BLOCK, K) each."""
    return [np.zeros((BLOCK, 0))] * 3


def _sphere(rng: np.random.Generator, recipe: Recipe) -> list[NDArray[np.float64]]:
    """Spherical subhalos as point masses. Returns x, y, mass, (BLOCK, K) each."""
    number = rng.poisson(recipe.subhalo_number, BLOCK)
    used = np.arange(max(number.max(), 1)) < number[:, None]
    power = recipe.subhalo_slope + 1
    low, high = recipe.subhalo_mass
    u = rng.uniform(size=used.shape)
    if power == 0:
        mass = low * (high / low) ** u
    else:
        mass = (low**power + u * (high**power - low**power)) ** (1 / power)
    radius = rng.uniform(*recipe.subhalo_radius, size=used.shape)
    angle = rng.uniform(0, 2 * np.pi, size=used.shape)
    x = np.where(used, radius * np.cos(angle), _FAR)
    y = np.where(used, radius * np.sin(angle), _FAR)
    return [x, y, np.where(used, mass, 0.0)]


def _vort(rng: np.random.Generator, recipe: Recipe) -> list[NDArray[np.float64]]:
    """A vortex: equal point masses along a straight line, ends included."""
    centre = rng.normal(0.0, recipe.vortex_sigma, size=(2, BLOCK, 1))
    length, angle = _uniform(rng, recipe.vortex_length), _uniform(rng, (0, 2 * np.pi))
    along = np.linspace(-0.5, 0.5, recipe.vortex_points) * length[:, None]
    x = centre[0] + along * np.cos(angle)[:, None]
    y = centre[1] + along * np.sin(angle)[:, None]
    mass = _uniform(rng, recipe.vortex_fraction) * recipe.total_mass
    each = np.repeat(mass[:, None], recipe.vortex_points, 1) / recipe.vortex_points
    return [x, y, each]


Substructure = Callable[[np.random.Generator, Recipe], list[NDArray[np.float64]]]
_SUBSTRUCTURE: dict[str, Substructure] = {"no": _no, "sphere": _sphere, "vort": _vort}


def draw(recipe: Recipe, label: int, rng: np.random.Generator) -> Arrays:
    """Draws one block of lenses of one class; see `Simulation.parameters`."""
    degree = np.pi / 180
    p: Arrays = {
        "z_lens": _uniform(rng, recipe.z_lens),
        "z_source": _uniform(rng, recipe.z_source),
        "shear": _uniform(rng, recipe.shear),
        "shear_angle": _uniform(rng, recipe.shear_angle) * degree,
    }
    radius, angle = _uniform(rng, recipe.source_radius), _uniform(rng, (0, 2 * np.pi))
    p["source_x"], p["source_y"] = radius * np.cos(angle), radius * np.sin(angle)
    p["axis_ratio"] = _uniform(rng, recipe.axis_ratio)
    p["source_angle"] = _uniform(rng, recipe.source_angle) * degree
    draw_masses = _SUBSTRUCTURE[recipe.classes[label]]
    p["mass_x"], p["mass_y"], p["mass"] = draw_masses(rng, recipe)
    p["substructure_mass"] = p["mass"].sum(1)
    factor = mass_to_arcsec2(p["z_lens"], p["z_source"], recipe)
    p["mass_theta2"] = p["mass"] * factor[:, None]
    # A drawn substructure heavier than the whole lens (1 in 1e6 for `sphere`)
    # leaves no halo.
    halo = np.maximum(recipe.total_mass - p["substructure_mass"], 0.0)
    p["theta_e"] = np.sqrt(halo * factor)
    return p


def _rotate(p: Arrays, degrees: float) -> Arrays:
    """Turns the whole lens, source included, anticlockwise on the sky."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = dict(p)
    for name in ("source", "mass"):
        x, y = p[f"{name}_x"], p[f"{name}_y"]
        turned[f"{name}_x"], turned[f"{name}_y"] = x * cos - y * sin, x * sin + y * cos
    turned["shear_angle"] = p["shear_angle"] + angle
    turned["source_angle"] = p["source_angle"] + angle
    return turned


def _block(
    recipe: Recipe, label: int, seed: int, block: int, rotation: float, noise: bool
) -> tuple[Tensor, Arrays]:
    rng = np.random.default_rng([seed, label, block])
    parameters = _rotate(draw(recipe, label, rng), rotation)
    lens = {k: torch.from_numpy(v).float() for k, v in parameters.items()}
    chunks = [
        render({k: v[i : i + _RENDER] for k, v in lens.items()}, recipe)
        for i in range(0, BLOCK, _RENDER)
    ]
    images = torch.cat(chunks)
    if noise:
        images = torch.from_numpy(rng.poisson(images.numpy())).float()
    return images, parameters


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
) -> Iterator[tuple[int, Tensor, Arrays]]:
    """Simulates images `start` to `n` of one class, block by block, in order.

    The images depend on recipe, class, seed and index alone, not on `n`, `start` or
    `workers`.

    Args:
        recipe: Name or recipe.
        label: Index of the class.
        n: One past the last image.
        seed: Not negative.
        start: First image; a multiple of `BLOCK`.
        rotation: Turns every lens anticlockwise on the sky. *Unit*: degrees.
        noise: Whether to draw Poisson noise.
        workers: Threads; as many as torch uses if None.

    Yields:
        Index of the first image, images (B, pixels, pixels) float32 counts, and their
        parameters; see `Simulation.parameters`.

    Raises:
        ValueError: `start` is not a multiple of `BLOCK`, or `workers` is below 1.
    """
    recipe = get_recipe(recipe)
    if start % BLOCK:
        raise ValueError(f"start={start} is not a multiple of {BLOCK}")
    threads = torch.get_num_threads()
    workers = threads if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least 1")
    starts = range(start, n, BLOCK)
    window = 4 * workers  # bounds what waits in memory
    try:
        with ThreadPoolExecutor(
            workers, initializer=lambda: torch.set_num_threads(1)
        ) as pool:
            for first in range(0, len(starts), window):
                jobs = [
                    pool.submit(
                        _block, recipe, label, seed, s // BLOCK, rotation, noise
                    )
                    for s in starts[first : first + window]
                ]
                for s, job in zip(starts[first : first + window], jobs, strict=True):
                    images, parameters = job.result()
                    keep = min(BLOCK, n - s)
                    yield s, images[:keep], {k: v[:keep] for k, v in parameters.items()}
    finally:
        # What a worker sets for itself is also the default of threads to come.
        torch.set_num_threads(threads)


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
    progress: bool = False,
) -> Simulation:
    """Simulates n lenses, the classes in equal parts.

    The i-th image of a class depends on recipe and seed alone: asking for more images
    keeps the ones already made. Recipes do not enter the random stream, so with one
    seed two recipes share the draws whose ranges they share: use disjoint seeds for
    sets that must be independent, across recipes too.

    Memory is that of the result (90 kB an image) plus at most 0.3 GB.

    Args:
        recipe: `"modelF"`, `"modelJ"` or a `Recipe`.
        n: Number of images over all classes.
        seed: From 0 to 2**32 - 1; the same seed gives the same images.
        rotation: Turns every lens anticlockwise on the sky. *Unit*: degrees.
        noise: Whether to draw Poisson noise; without it the expected counts.
        workers: Threads; as many as torch uses if None.
        progress: Whether to show a progress bar.

    Returns:
        Images, labels and parameters.

    Raises:
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
        parameters={name: _stack(parts) for name, parts in columns.items()},
        recipe=recipe,
        seed=seed,
    )


def _stack(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Concatenates along the images, padding the point masses with zeros."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
    )
