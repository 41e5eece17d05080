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
from unlike import NO_LENS, which_can_be_scaled, without_either

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
        recipes: Recipes with the same classes, or their names or files. A step shows
            lenses of all of them, mixed: batch norms would else have other statistics
            while training than afterwards.
        batch_size: Images a step for this process.
        seed: Of the lenses.
        rank: Of this process.
        world: Number of processes, 1, 2, 4 or 8; together they see in each step what
            one alone would see.
        resampled: Share of the lenses that are turned by interpolation. Without any,
            images need no margin.
        shift: Largest shift along either axis in pixels.
        exposures: How often each lens is observed; see `LensStream`.
        matched: Whether a step shows each of its lenses with every class's
            substructure; see `LensStream`.
        unlike: Share of the images that are no lenses, see `unlike.py`, as nearly as
            whole batches allow; their label is `NO_LENS`.

    Raises:
        ValueError: Another number of processes, recipes with other classes, or steps
            that would part the images of a lens.
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
        matched: bool = False,
        unlike: float = 0.0,
    ) -> None:
        self.resampled, self.shift, self.exposures = resampled, shift, exposures
        self.matched, self.unlike = matched, unlike
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
        together = 8 * len(first.classes)
        if matched and batch_size * world % together:
            raise ValueError(
                f"--batch-size {batch_size * world} with --matched: expected a "
                f"multiple of {together}, 8 times the number of classes"
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
        self._others: Iterator[LensChunk] = iter(())
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
        several = len(self.recipes) > 1
        self.together = len(self.recipes) * self.exposures if several else 1
        self.prepare, self.pose = prepare, RandomPose(size)
        side = size if self.resampled == 0 else size + 2 * EDGE
        recipes = [_with_room(recipe, side + 2 * self.shift) for recipe in self.recipes]
        options: dict[str, Any] = {"size": side, "shift": self.shift, "device": device}
        self.stream = LensStream(
            recipes,
            seed=self.seed,
            chunk=chunk,
            exposures=self.exposures,
            matched=self.matched,
            **options,
        )
        self.others: LensStream | None = None
        rows = self.together * chunk
        if self.unlike:
            none = without_either(recipes)
            wanted = rows * self.unlike / (1 - self.unlike) / len(none)
            part = unit * max(1, round(wanted / unit))
            self.others = LensStream(none, seed=self.seed, chunk=part, **options)
            rows += part * len(none)
        # Batches in the chunks that are mixed.
        self.each = rows // self.world // self.batch_size

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

    def _unlike(self, lenses: LensChunk, number: int) -> Batch:
        """As `_ready`, of what is no lens; what cannot be scaled is left out.

        Args:
            lenses: From the stream.
            number: Of the chunk.

        Raises:
            ValueError: Nothing of it can be scaled.
        """
        assert self.others is not None
        usable = which_can_be_scaled(self.prepare, lenses.images)
        if not usable:
            name = self.others.recipes[number % len(self.others.recipes)].name
            raise ValueError(
                f"--unlike: {name!r} leaves nothing to scale; expected recipes with "
                "noise"
            )
        # Others, which are there twice then, take the place of the rest.
        rows = range(len(lenses.labels))
        good = set(usable)
        chosen = [i if i in good else usable[i % len(usable)] for i in rows]
        there = LensChunk(*(value[chosen] for value in lenses))
        batch = self._ready(there, (self.seed, number, 1))
        assert batch.masses is not None
        return batch._replace(
            labels=torch.full_like(batch.labels, NO_LENS),
            masses=torch.zeros_like(batch.masses),
        )

    def _mixed(self, chunks: list[Batch], index: int) -> Batch:
        """One batch of them all, mixed within each part that processes may share."""
        if len(chunks) == 1:
            return chunks[0]
        groups = 8 // self.world
        unit = len(self.classes) if self.matched else 1
        rows = sum(len(chunk.labels) for chunk in chunks) // groups
        mine = range(self.rank * groups, (self.rank + 1) * groups)
        streams = [np.random.default_rng([self.seed, index, g, 7]) for g in mine]
        sets = [rng.permutation(rows // unit) for rng in streams]
        order = np.stack(sets)[..., None] * unit + np.arange(unit)
        order = order.reshape(groups, rows) + rows * np.arange(groups)[:, None]

        def mixed(parts: list[Tensor]) -> Tensor:
            by_group = torch.cat([part.unflatten(0, (groups, -1)) for part in parts], 1)
            flat = by_group.flatten(0, 1)
            return flat[torch.from_numpy(order.ravel()).to(flat.device)]

        images, labels, masses, quantities = (
            mixed([getattr(chunk, name) for chunk in chunks])
            for name in ("images", "labels", "masses", "quantities")
        )
        return Batch(images, labels, masses, True, quantities)

    def _chunk(self, index: int, again: bool) -> Batch:
        """What is mixed; that of the steps is prepared ahead."""
        last = self._kept.get(again)
        if last is not None and last[0] == index:
            return last[1]
        share = {"part": self.rank, "parts": self.world}
        first = index * self.together
        numbers = range(first, first + self.together)
        restart = not again and (last is None or index != last[0] + 1)
        if restart:
            self._following = self.stream.chunks(first, workers=4, **share)
        chunks = [
            self._ready(
                self.stream.chunk(number, **share) if again else next(self._following),
                (self.seed, number),
            )
            for number in numbers
        ]
        if self.others is not None:
            kinds = len(self.others.recipes)
            numbers = range(index * kinds, (index + 1) * kinds)
            if restart:
                self._others = self.others.chunks(index * kinds, **share)
            chunks += [
                self._unlike(
                    self.others.chunk(number, **share) if again else next(self._others),
                    number,
                )
                for number in numbers
            ]
        self._kept[again] = (index, self._mixed(chunks, index))
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
            **({"matched": True} if self.matched else {}),
            **({"unlike": self.unlike} if self.unlike else {}),
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
