"""Training data that is simulated while it is consumed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from lensequiv.simulation._blocks import simulate_range
from lensequiv.simulation._simulate import checked_request
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["SimulatedLenses"]


class SimulatedLenses(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches of fresh lenses.

    For a `DataLoader` that makes no batches of its own::

        loader = DataLoader(
            SimulatedLenses("modelJ", batches=6000, batch_size=64, seed=1),
            batch_size=None, num_workers=2)

    Classes alternate. The i-th image is that of `simulate` with the same seed, the
    (i // classes)-th of its class, whatever the batch size or the number of workers;
    batches come in order. No image repeats within a run.

    Args:
        recipe: A name of `RECIPES` or a `Recipe`.
        batches: Length of the run.
        batch_size: Images a batch.
        seed: From 0 to 2**32 - 1.
        first: First batch: where an interrupted run goes on.
        rotation: Turns every lens anticlockwise on the sky. *Unit*: degrees.
        noise: Whether to add noise.

    Raises:
        ValueError: Unknown recipe, or a number out of range.
    """

    def __init__(
        self,
        recipe: str | Recipe,
        batches: int,
        batch_size: int,
        *,
        seed: int,
        first: int = 0,
        rotation: float = 0.0,
        noise: bool = True,
    ) -> None:
        self.recipe = get_recipe(recipe)
        self.batch_size, self.seed = checked_request(batch_size, seed, at_least=1)
        if not 0 <= first <= batches:
            raise ValueError(f"first={first}: expected from 0 to batches={batches}")
        self.first, self.batches = first, batches
        self.rotation, self.noise = rotation, noise

    def __len__(self) -> int:
        """The number of batches that are left."""
        return self.batches - self.first

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Simulates one batch.

        Args:
            index: Which, from 0.

        Returns:
            (batch_size, 1, pixels, pixels) float32 counts and (batch_size,) int64
            labels.
        """
        position = torch.arange(index * self.batch_size, (index + 1) * self.batch_size)
        classes = len(self.recipe.classes)
        labels = position % classes
        size = self.recipe.pixels
        images = torch.empty(self.batch_size, 1, size, size)
        for label in labels.unique().tolist():
            of_class = labels == label
            number = position[of_class] // classes
            images[of_class, 0], _ = simulate_range(
                self.recipe,
                label,
                self.seed,
                int(number[0]),
                int(number[-1]) + 1,
                rotation=self.rotation,
                noise=self.noise,
            )
        return images, labels

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Simulates the batches of this worker, in order."""
        worker = get_worker_info()
        skip, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for index in range(self.first + skip, self.batches, step):
            yield self.batch(index)
