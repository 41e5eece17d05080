"""Training images for `train.py`: what a source of them is, and one on disk.

Every batch is a function of the step alone, so a run can go on where it was killed.
With several processes each one gets its share of it. `fresh_lenses.py` has the source
that simulates them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sets import LabelledSet, at_scale, manifest, pixel_scale_of
from torch import Tensor

from lensequiv.data import HDF5Images, open_dataset
from lensequiv.simulation import heaviest_masses, recorded_name


class Batch(NamedTuple):
    """Images and what is known about them.

    Attributes:
        images: (N, C, H, W), float16 or float32.
        labels: (N,) int64.
        masses: (N, K, 3) float32 with x, y and squared Einstein radius of the point
            masses, or None where they are not known. If `ready`, in pixels from the
            central pixel and pixels^2; else in arcsec from the centre and arcsec^2.
        ready: Whether the images are posed and preprocessed.
        quantities: (N, 5) float32, see `lensequiv.simulation.LensChunk`, or None where
            they are not known.
    """

    images: Tensor
    labels: Tensor
    masses: Tensor | None
    ready: bool = False
    quantities: Tensor | None = None


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
        self.path, self.classes = data.place, data.classes
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

    def bring_to(self, scales: tuple[float, float]) -> None:
        """Resamples all images; see `sets.at_scale`. They are loaded before."""
        assert self.images is not None
        self.images = at_scale(self.images, scales)
        self.side, self.scale = min(self.images.shape[2:]), scales[1]
        if self.pixel_scale is not None:
            self.pixel_scale = self.scale

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
        described = manifest(self.data)
        known = {
            "recipe": recorded_name(described["recipe"]) if described else None,
            "seed": described.get("seed"),
            "simulated_with": described.get("versions"),
        }
        return {
            "images": len(self.labels),
            "file": self.path.name,
            **{key: value for key, value in known.items() if value is not None},
        }


def read_masses(path: Path) -> Tensor | None:
    """The heaviest point masses of a set in HDF5, (N, K, 3), or None if it has none.

    Position in arcsec from the centre and squared Einstein radius in arcsec^2.
    """
    import h5py

    with h5py.File(path) as file:
        if "parameters/mass_theta2" not in file:
            return None
        truth = file["parameters"]
        values = (truth[f"mass_{name}"][:] for name in ("x", "y", "theta2"))
        return heaviest_masses(torch.stack([*map(torch.from_numpy, values)], -1))
