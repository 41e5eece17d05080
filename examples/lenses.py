"""Training images for `train.py`: from disk, or simulated while training.

Every batch is a function of the step alone, so a run can go on where it was killed.
With several processes each one gets its own images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sets import LabelledSet, manifest, path_of, pixel_scale_of
from torch import Tensor

import lensequiv
from lensequiv.data import HDF5Images, open_dataset
from lensequiv.simulation import get_recipe, iter_blocks

# A lens may have more point masses; the heaviest ones say enough.
MASSES = 128


class Batch(NamedTuple):
    """Images and what is known about them.

    Attributes:
        images: (N, C, H, W), float16 or float32.
        labels: (N,) int64.
        masses: (N, K, 3) float32 with x, y (arcsec) and squared Einstein radius
            (arcsec^2) of the point masses, or None where they are not known.
    """

    images: Tensor
    labels: Tensor
    masses: Tensor | None


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
    """Lenses simulated while training, each seen `reuse` times on average.

    The newest `pool` lenses wait in memory, from which batches are drawn at random;
    enough are added at every step. On processors a lens takes about as long to simulate
    as to train on, which `reuse` makes up for.

    Args:
        recipe: Name of a recipe.
        batch_size: Images a step for this process.
        seed: Of lenses and batches.
        pool: Lenses in memory.
        reuse: How often a lens is seen on average.
        rank: Of this process.
        world: Number of processes.
    """

    CHUNK = 256  # of each class, simulated together

    def __init__(
        self,
        recipe: str,
        batch_size: int,
        *,
        seed: int,
        pool: int = 36864,
        reuse: float = 8.0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.recipe = get_recipe(recipe)
        self.classes, self.pixel_scale = self.recipe.classes, self.recipe.pixel_scale
        self.batch_size, self.seed, self.reuse = batch_size, seed, reuse
        self.rank, self.world = rank, world
        self.chunk = self.CHUNK * len(self.classes)
        self.first = min(pool, 8 * self.chunk)
        self.pool = max(pool // self.chunk, 1) * self.chunk
        self.channels, self.side = 1, self.recipe.pixels
        self.scale = self.pixel_scale
        size = self.recipe.pixels
        self.images = torch.empty(self.pool, 1, size, size, dtype=torch.float16)
        self.labels = torch.empty(self.pool, dtype=torch.int64)
        self.masses = torch.zeros(self.pool, MASSES, 3)
        self.made = 0

    def _wanted(self, step: int) -> int:
        """How many lenses must have been made for a step, a multiple of the chunk."""
        seen = self.first + (step + 1) * self.batch_size / self.reuse
        return -(-int(seen) // self.chunk) * self.chunk

    def _simulate(self) -> None:
        """Puts the next chunk where the oldest one is."""
        # Ten million of each class are more than a process will ever draw.
        start = self.rank * 10_000_000 + self.made // len(self.classes)
        place = self.made % self.pool
        for label in range(len(self.classes)):
            for _, images, truth in iter_blocks(
                self.recipe, label, start + self.CHUNK, seed=self.seed, start=start
            ):
                rows = slice(place, place + len(images))
                self.images[rows, 0] = images.half()
                self.labels[rows] = label
                self.masses[rows] = heaviest(
                    *(truth[f"mass_{name}"] for name in ("x", "y", "theta2"))
                )
                place += len(images)
        self.made += self.chunk

    def batch(self, step: int, again: int = 0) -> Batch:
        """See `Lenses`; the first batch after a restart fills the pool again."""
        wanted = self._wanted(step)
        if wanted - self.made > self.pool:
            self.made = wanted - self.pool
        while self.made < wanted:
            self._simulate()
        generator = torch.Generator().manual_seed(
            ((self.seed * 1_000_003 + step) * 1009 + again) * self.world + self.rank
        )
        size = (self.batch_size,)
        index = torch.randint(min(self.made, self.pool), size, generator=generator)
        return Batch(self.images[index], self.labels[index], self.masses[index])

    def describe(self) -> dict[str, Any]:
        """See `Lenses`."""
        return {
            "recipe": self.recipe.name,
            "images": self.made * self.world,
            "seed": self.seed,
            "fresh": True,
            "simulated_with": {
                "lensequiv": lensequiv.__version__,
                "torch": str(torch.__version__),
            },
        }


def heaviest(x: Any, y: Any, theta2: Any) -> Tensor:
    """The `MASSES` heaviest of (N, K) point masses as (N, MASSES, 3); zeros fill up."""
    masses = torch.stack([torch.as_tensor(v).float() for v in (x, y, theta2)], -1)
    if masses.shape[1] > MASSES:
        order = masses[..., 2].argsort(1, descending=True)[:, :MASSES, None]
        return masses.gather(1, order.expand(-1, -1, 3))
    return torch.nn.functional.pad(masses, (0, 0, 0, MASSES - masses.shape[1]))


def read_masses(path: Path) -> Tensor | None:
    """The point masses of a set in HDF5, (N, MASSES, 3), or None if it has none."""
    import h5py

    with h5py.File(path) as file:
        if "parameters/mass_theta2" not in file:
            return None
        truth = file["parameters"]
        return heaviest(*(truth[f"mass_{name}"][:] for name in ("x", "y", "theta2")))
