"""`simulate`: a set of lenses with the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.data import splits
from lensequiv.simulation._blocks import iter_blocks
from lensequiv.simulation._checks import rendering_device
from lensequiv.simulation._draw import Arrays, stack
from lensequiv.simulation._quantities import quantities_of
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["Simulation", "simulate"]


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

    @property
    def quantities(self) -> Tensor:
        """(N, 5) float32 true quantities on the CPU, see `LensChunk.quantities`."""
        parts, labels = [], self.labels.cpu().numpy()
        for label in range(len(self.classes)):
            rows = labels == label
            lens = {name: value[rows] for name, value in self.parameters.items()}
            parts.append(quantities_of(self.recipe, label, lens))
        return torch.from_numpy(np.concatenate(parts)).float()

    def __repr__(self) -> str:
        """Recipe, seed, and the number of images of each class."""
        side = self.images.shape[-1]
        return (
            f"Simulation({self.recipe.name!r}, seed {self.seed}: "
            f"{splits.class_counts(self.labels, self.classes)}, {side} x {side} pixels)"
        )


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
    for name, value in (("n", n), ("seed", seed)):
        if not hasattr(value, "__index__"):
            raise TypeError(f"{name}={value!r}: expected a whole number")
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
