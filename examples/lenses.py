"""Training images for `train.py`: from disk, or simulated while training.

Every batch is a function of the step alone, so a run can go on where it was killed.
With several processes each one gets its share of it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mass_map import posed_masses
from numpy.typing import NDArray
from sets import LabelledSet, manifest, path_of, pixel_scale_of
from torch import Tensor

import lensequiv
from lensequiv.data import HDF5Images, open_dataset
from lensequiv.simulation import LensChunk, LensStream, Recipe, _chunk, get_recipe
from lensequiv.simulation._chunk import MASSES
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


class Batch(NamedTuple):
    """Images and what is known about them.

    Attributes:
        images: (N, C, H, W), float16 or float32.
        labels: (N,) int64.
        masses: (N, K, 3) float32 with x, y and squared Einstein radius of the point
            masses, or None where they are not known. If `ready`, in pixels from the
            central pixel and pixels^2; else in arcsec from the centre and arcsec^2.
        ready: Whether the images are posed and preprocessed.
    """

    images: Tensor
    labels: Tensor
    masses: Tensor | None
    ready: bool = False


class Lenses(ABC):
    """A source of training images.

    Attributes:
        classes: Names of the classes in the order of the labels.
        channels: Of an image.
        side: Shorter side of an image in pixels.
        scale: Of a pixel. *Unit*: arcsec. None where it is not known.
        pixel_scale: The same, but None where the masses are not known: for their maps.
    """

    classes: tuple[str, ...]
    channels: int
    side: int
    scale: float | None
    pixel_scale: float | None

    @abstractmethod
    def batch(self, step: int, again: int = 0) -> Batch:
        """The batch of a step; steps only ever go up.

        Args:
            step: From 0.
            again: Another number gives another batch of the images of that step, drawn
                at random.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """For the model card: recipe, number of images, seed and versions, if known."""


class StoredLenses(Lenses):
    """A set on disk, in memory as a whole, shuffled anew for each pass.

    Args:
        source: Class folders, or an HDF5 file as `lensequiv simulate` writes it, which
            also holds the masses; by its path, or opened.
        batch_size: Images a step for this process.
        seed: Of the order.
        limit: Take only the first so many images, of each class alike.
        rank: Of this process.
        world: Number of processes.

    Raises:
        ImageError: The first image cannot be read.
        ValueError: There are fewer images than a batch has, or `limit` leaves out a
            class.
    """

    def __init__(
        self,
        source: Path | LabelledSet,
        batch_size: int,
        *,
        seed: int,
        limit: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        data = open_dataset(source) if isinstance(source, Path) else source
        self.path, self.classes = path_of(data), data.classes
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world = rank, world
        if limit is not None:
            if limit < len(data.classes):
                raise ValueError(
                    f"{limit} images to train on; expected at least one of each of the "
                    f"{len(data.classes)} classes"
                )
            data = data.take(min(limit, len(data)))
        if len(data) < batch_size * world:
            raise ValueError(
                f"{self.path} has {len(data)} images to train on; expected at least a "
                f"batch of {batch_size * world}"
            )
        self.data, self.labels = data, data.labels
        self.channels, *sides = data[0][0].shape
        self.side = min(sides)
        self.scale, self.masses = pixel_scale_of(data), None
        if isinstance(data, HDF5Images) and self.scale is not None:
            masses = read_masses(self.path)
            self.masses = None if masses is None else masses[data.rows]
        self.pixel_scale = None if self.masses is None else self.scale
        self.images: Tensor | None = None

    def load(self, **options: Any) -> Tensor:
        """Reads the images, with the options of `load_arrays`, on the first call."""
        if self.images is None:
            self.images = self.data.load_arrays(**options)
        return self.images

    def batch(self, step: int, again: int = 0) -> Batch:
        """See `Lenses`."""
        n = self.batch_size * self.world
        turn, place = divmod(step, len(self.labels) // n)
        generator = torch.Generator().manual_seed(
            (self.seed * 10007 + turn) * 1009 + again
        )
        order = torch.randperm(len(self.labels), generator=generator)
        index = order[place * n : (place + 1) * n][self.rank :: self.world]
        masses = None if self.masses is None else self.masses[index]
        return Batch(self.load()[index], self.labels[index], masses)

    def describe(self) -> dict[str, Any]:
        """See `Lenses`."""
        described = manifest(self.path)
        known = {
            "recipe": described.get("recipe", {}).get("name"),
            "seed": described.get("seed"),
            "simulated_with": described.get("versions"),
        }
        return {
            "images": len(self.labels),
            "file": self.path.name,
            **{key: value for key, value in known.items() if value is not None},
        }


class FreshLenses(Lenses):
    """Lenses simulated while training, on the device that trains: none is seen twice.

    Their poses are the simulator's own; half of them are turned a little further by
    interpolation. They come preprocessed, a chunk of some thousands at a time: see
    `lensequiv.simulation.LensStream`. `open` has to be called first.

    Args:
        recipes: Recipes with the same classes, which take turns, or their names.
        batch_size: Images a step for this process.
        seed: Of the lenses.
        rank: Of this process.
        world: Number of processes, 1, 2, 4 or 8; together they see in each step what
            one alone would see.

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
    ) -> None:
        self.recipes = [get_recipe(name) for name in recipes]
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
        self.stream = LensStream(
            self.recipes,
            seed=self.seed,
            size=size + 2 * EDGE,
            chunk=chunk,
            device=device,
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
        # Drawn for the chunks of all processes, whose rows follow one another.
        turns = _small_turns(len(scale) * self.world, key)
        mine = turns[self.rank * len(scale) : (self.rank + 1) * len(scale)]
        angle = torch.from_numpy(mine).to(scale)
        drawn = angle, torch.ones_like(angle), angle.new_zeros(2, len(angle), 1)
        images = self.pose.apply_drawn(lenses.images, *drawn)
        masses = posed_masses(masses, drawn, lenses.images.shape[-1], 1.0)
        return Batch(self.prepare(images), lenses.labels, masses, ready=True)

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
        # The same share of each part of a chunk: so that several processes, which have
        # some parts each, see together in a step what one alone would see.
        parts = math.gcd(8, self.batch_size * self.world) // self.world
        each = self.batch_size // parts
        rows = slice(place * each, (place + 1) * each)
        images, labels, masses = (
            t.unflatten(0, (parts, -1))[:, rows].flatten(0, 1)
            for t in (chunk.images, chunk.labels, chunk.masses)
        )
        return Batch(images, labels, masses, ready=True)

    def describe(self) -> dict[str, Any]:
        """See `Lenses`."""
        names = [recipe.name for recipe in self.recipes]
        return {
            "recipe": names[0],
            **({"recipes": names} if len(names) > 1 else {}),
            "images": self.seen * self.world,
            "seed": self.seed,
            "fresh": True,
            "simulated_with": {
                "lensequiv": lensequiv.__version__,
                "torch": str(torch.__version__),
            },
        }


def _small_turns(count: int, key: Sequence[int]) -> NDArray[np.float32]:
    """Angles in radians, 0 for those that are left alone."""
    rng = np.random.default_rng([*key, 5])
    turned = rng.random(count) < RESAMPLED
    angles: NDArray[np.float64] = np.radians(rng.uniform(-TURN, TURN, count))
    return (turned * angles).astype(np.float32)


def heaviest(x: Any, y: Any, theta2: Any) -> Tensor:
    """The `MASSES` heaviest of (N, K) point masses as (N, MASSES, 3); zeros fill up."""
    masses = torch.stack([torch.as_tensor(v).float() for v in (x, y, theta2)], -1)
    missing = max(MASSES - masses.shape[1], 0)
    return torch.nn.functional.pad(_chunk.heaviest(masses), (0, 0, 0, missing))


def read_masses(path: Path) -> Tensor | None:
    """The point masses of a set in HDF5, (N, MASSES, 3), or None if it has none."""
    import h5py

    with h5py.File(path) as file:
        if "parameters/mass_theta2" not in file:
            return None
        truth = file["parameters"]
        return heaviest(*(truth[f"mass_{name}"][:] for name in ("x", "y", "theta2")))
