"""Lenses simulated while `train.py` trains, on the device that trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lenses import Batch, Lenses
from mass_map import posed_masses
from numpy.typing import NDArray
from torch import Tensor

import lensequiv
from lensequiv.simulation import (
    LensChunk,
    LensStream,
    Recipe,
    load_recipe,
    recorded_name,
)
from lensequiv.transforms import RandomPose

# Fresh lenses made in one go: on an accelerator, and on a processor.
CHUNK = (3072, 384)

# Chunks from here on are for the batch-norm statistics: no run has as many steps.
APART = 10**9

# Share of the fresh lenses that are resampled, as real pipelines do, and the largest
# angle in degrees by which they are turned for it: interpolation smooths noise, and a
# network that has never seen that takes it for substructure.
RESAMPLED, TURN = 0.5, 10.0

EDGE = 8  # pixels around the network's input that such a turn needs


def _with_room(recipe: Recipe, side: int) -> Recipe:
    """The recipe with frames of at least `side` pixels, around the same centre.

    A small survey image leaves no margin for shifts and turns, and a simulator needs
    none: it renders what lies beyond the frame, too.
    """
    wanted = side + (recipe.pixels - side) % 2
    return replace(recipe, pixels=max(recipe.pixels, wanted))


class FreshLenses(Lenses):
    """Lenses simulated while training, on the device that trains: none is seen twice.

    Their poses are the simulator's own; half of them are turned a little further by
    interpolation. They come preprocessed, a chunk of some thousands at a time: see
    `lensequiv.simulation.LensStream`. `open` has to be called first.

    Args:
        recipes: Recipes with the same classes, which take turns; or their names or
            files.
        batch_size: Images a step for this process.
        seed: Of the lenses.
        rank: Of this process.
        world: Number of processes, 1, 2, 4 or 8; together they see in each step what
            one alone would see.
        resampled: Share of the lenses that are turned by interpolation. Without any,
            images need no margin.
        shift: Largest shift along either axis in pixels.
        exposures: How often each lens is observed; see `LensStream`.

    Raises:
        ValueError: Another number of processes, or recipes with other classes.
    """

    def __init__(
        self,
        recipes: Sequence[str | Recipe],
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        resampled: float = RESAMPLED,
        shift: int = 6,
        exposures: int = 1,
    ) -> None:
        self.resampled, self.shift, self.exposures = resampled, shift, exposures
        self.recipes = [load_recipe(name) for name in recipes]
        first = self.recipes[0]
        if math.gcd(8, batch_size * world) % world:
            raise ValueError(
                f"{world} processes with {batch_size} fresh lenses each: expected 1, "
                "2, 4 or 8 processes, and together a multiple of 8 lenses"
            )
        if any(recipe.classes != first.classes for recipe in self.recipes):
            raise ValueError(
                f"--fresh {','.join(recipe.name for recipe in self.recipes)}: expected "
                "recipes with the same classes"
            )
        self.classes, self.channels = first.classes, 1
        self.side = min(recipe.pixels for recipe in self.recipes)
        self.pixel_scale = first.pixel_scale
        # Where every lens has its own, the network must not expect one.
        self.scale = None if first.ring else first.pixel_scale
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world = rank, world
        self.seen = 0
        self._following: Iterator[LensChunk] = iter(())
        self._kept: dict[bool, tuple[int, Batch]] = {}

    def open(
        self, size: int, device: torch.device, prepare: Callable[[Tensor], Tensor]
    ) -> None:
        """Says what the network wants.

        Args:
            size: Side of its input in pixels.
            device: Where it is trained.
            prepare: Its preprocessing.
        """
        # As many as are worth one go, in whole batches and equal parts of the classes.
        unit = math.lcm(self.batch_size * self.world, 8 * len(self.classes))
        many = CHUNK[device.type == "cpu"]
        chunk = unit * max(1, many // unit)
        self.each = chunk // self.world // self.batch_size  # batches in a chunk
        self.prepare, self.pose = prepare, RandomPose(size)
        side = size if self.resampled == 0 else size + 2 * EDGE
        self.stream = LensStream(
            [_with_room(recipe, side + 2 * self.shift) for recipe in self.recipes],
            seed=self.seed,
            size=side,
            chunk=chunk,
            shift=self.shift,
            device=device,
            exposures=self.exposures,
        )

    def _ready(self, lenses: LensChunk, key: tuple[int, ...]) -> Batch:
        """Preprocessed images, and the masses in units of their pixels.

        Args:
            lenses: From the stream.
            key: Numbers of the random stream that says which images are turned.
        """
        scale = lenses.pixel_scale[:, None]
        x, y, theta2 = lenses.masses.unbind(-1)
        masses = torch.stack([x, y, theta2 / scale**2], -1)
        if self.resampled == 0:
            images, quantities = self.prepare(lenses.images), lenses.quantities
            return Batch(images, lenses.labels, masses, True, quantities)
        # Drawn for the chunks of all processes, whose rows follow one another.
        turns = _small_turns(len(scale) * self.world, key, self.resampled)
        mine = turns[self.rank * len(scale) : (self.rank + 1) * len(scale)]
        angle = torch.from_numpy(mine).to(scale)
        drawn = angle, torch.ones_like(angle), angle.new_zeros(2, len(angle), 1)
        images = self.pose.apply_drawn(lenses.images, *drawn)
        masses = posed_masses(masses, drawn, lenses.images.shape[-1], 1.0)
        images = self.prepare(images)
        return Batch(images, lenses.labels, masses, True, lenses.quantities)

    def _chunk(self, index: int, again: bool) -> Batch:
        """A chunk; those of the steps are prepared ahead."""
        last = self._kept.get(again)
        if last is not None and last[0] == index:
            return last[1]
        share = {"part": self.rank, "parts": self.world}
        if again:
            lenses = self.stream.chunk(index, **share)
        else:
            if last is None or index != last[0] + 1:
                self._following = self.stream.chunks(index, workers=4, **share)
            lenses = next(self._following)
        self._kept[again] = (index, self._ready(lenses, (self.seed, index)))
        return self._kept[again][1]

    def batch(self, step: int, again: int = 0) -> Batch:
        """See `Lenses`."""
        index, place = divmod(again - 1 if again else step, self.each)
        if again:
            index += APART + 1000 * step
        else:
            self.seen = max(self.seen, (step + 1) * self.batch_size)
        chunk = self._chunk(index, bool(again))
        assert chunk.masses is not None
        assert chunk.quantities is not None
        # The same share of each part of a chunk: so that several processes, which have
        # some parts each, see together in a step what one alone would see.
        parts = math.gcd(8, self.batch_size * self.world) // self.world
        each = self.batch_size // parts
        rows = slice(place * each, (place + 1) * each)
        images, labels, masses, quantities = (
            t.unflatten(0, (parts, -1))[:, rows].flatten(0, 1)
            for t in (chunk.images, chunk.labels, chunk.masses, chunk.quantities)
        )
        return Batch(images, labels, masses, True, quantities)

    def describe(self) -> dict[str, Any]:
        """See `Lenses`."""
        names = [recorded_name(recipe.describe()) for recipe in self.recipes]
        return {
            "recipe": names[0],
            **({"recipes": names} if len(names) > 1 else {}),
            "images": self.seen * self.world,
            **({"exposures": self.exposures} if self.exposures > 1 else {}),
            "seed": self.seed,
            "fresh": True,
            "simulated_with": {
                "lensequiv": lensequiv.__version__,
                "torch": str(torch.__version__),
            },
        }


def _small_turns(count: int, key: Sequence[int], share: float) -> NDArray[np.float32]:
    """Angles in radians, 0 for those that are left alone, all but a share."""
    rng = np.random.default_rng([*key, 5])
    turned = rng.random(count) < share
    angles: NDArray[np.float64] = np.radians(rng.uniform(-TURN, TURN, count))
    return (turned * angles).astype(np.float32)
