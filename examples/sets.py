"""The data sets of a training run: found, opened, their classes compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lensequiv.data import ClassFolder, HDF5Images, open_dataset
from lensequiv.simulation import LensStream, Recipe, load_recipe
from lensequiv.transforms import resample

VALIDATION = 4512  # images that are simulated where no data set has any
_SHIFT = 6  # pixels, of the lenses of a `SimulatedSet`


class SimulatedSet:
    """Lenses of a recipe in any pose, as training has them, simulated when wanted.

    Args:
        recipe: A recipe, its name or its file.
        images: Their number, over all classes: a multiple of 8 times those.
        seed: Of the simulation.
        device: Where to simulate.

    Attributes:
        seed: Of the simulation.
        classes: In the order of the labels.
        labels: (N,) int64.
    """

    def __init__(
        self, recipe: str | Recipe, images: int, seed: int, device: torch.device
    ) -> None:
        chosen = load_recipe(recipe)
        side = chosen.pixels - 2 * _SHIFT
        stream = LensStream(
            chosen,
            seed=seed,
            size=side - 1 + side % 2,
            chunk=images,
            shift=_SHIFT,
            device=device,
        )
        made = stream.chunk(0)
        self.seed, self.classes = seed, stream.classes
        self._images, self.labels = made.images.cpu(), made.labels.cpu()

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def load_arrays(self, **options: Any) -> Tensor:
        """(N, 1, H, W) float32 counts; the options, which save memory, do nothing."""
        return self._images


simulated_set = lru_cache(maxsize=4)(SimulatedSet)
"""A `SimulatedSet`, made once for several runs of a process."""

LabelledSet = ClassFolder | HDF5Images


@dataclass(frozen=True)
class Sets:
    """The sets of a run, opened, their classes compared.

    Attributes:
        train: None if the training images are simulated on the way.
        val: Validation images.
        test: None if there are none.
        classes: Of all of them, in the order of the labels.
    """

    train: LabelledSet | None
    val: LabelledSet | SimulatedSet
    test: LabelledSet | None
    classes: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Images and seed of the validation and the test set, for the model card."""
        found: dict[str, Any] = {}
        for split, data in (("val", self.val), ("test", self.test)):
            if data is None:
                continue
            found[split] = {"images": len(data)}
            if isinstance(data, SimulatedSet):
                found[split] |= {"seed": data.seed, "fresh": True}
            elif (seed := manifest(data).get("seed")) is not None:
                found[split]["seed"] = seed
        return found


def find(data: Path, split: str) -> Path | None:
    """`DATA/SPLIT.h5` or the class folders in `DATA/SPLIT`, whichever is there.

    Of both, the file is taken to train, as it may hold the masses, else the folder.
    """
    places = [data / split, data / f"{split}.h5"]
    there = [path for path in places if path.exists()]
    return there[-1 if split == "train" else 0] if there else None


def open_sets(
    data: Path,
    *,
    classes: Sequence[str] | None = None,
    simulated: bool = False,
    test: bool = True,
    plane: str | None = None,
) -> Sets:
    """Opens the sets of a run and compares their classes.

    Args:
        data: Folder that holds them.
        classes: What the classes have to be; those of the training images if None.
        simulated: Whether there is no training set.
        test: Whether to open the test set, if there is one.
        plane: Which image, where a file has several.

    Raises:
        FileNotFoundError: `data`, or a set that is needed, does not exist.
        ImageError: A set is none, or its classes are others.
        ValueError: A class of the training or validation set has no image.
    """
    data = data.expanduser()
    if not data.is_dir():
        raise FileNotFoundError(f"--data {data}: there is no such folder")

    def opened(split: str, names: Sequence[str] | None) -> LabelledSet:
        if (path := find(data, split)) is None:
            there = ", ".join(sorted(p.name for p in data.iterdir())[:10]) or "nothing"
            raise FileNotFoundError(
                f"{data} holds {there}, but no images to {_USE[split]}; expected "
                f"{split}/ with a folder for each class, or {split}.h5"
            )
        found = open_dataset(path, names, plane=plane if path.is_dir() else None)
        counts = torch.bincount(found.labels, minlength=len(found.classes))
        if split != "test" and not counts.all():
            name = found.classes[int(counts.argmin())]
            raise ValueError(f"{path} has no image of the class {name}")
        return found

    train = None if simulated else opened("train", classes)
    names = train.classes if train is not None else classes
    val = opened("val", names)
    tested = None
    if test and find(data, "test") is not None:
        tested = opened("test", names)
    elif test:
        print(f"{data} holds no test/: the weights will be saved without test scores")
    return Sets(train, val, tested, val.classes)


_USE = {"train": "train on", "val": "validate with", "test": "test with"}


Scales = tuple[float, float] | None
"""The pixel scale that images have and the one they should have; None: as they are.

*Unit*: arcsec/pixel.
"""


def at_scale(images: Tensor, scales: Scales) -> Tensor:
    """Images (N, C, H, W) brought from one pixel scale to another."""
    if scales is None:
        return images
    parts = [resample(part.float(), *scales) for part in images.split(512)]
    return torch.cat(parts).to(images.dtype)


def pixel_scale_of(data: LabelledSet) -> float | None:
    """In arcsec, as the set or its first file tells it."""
    return data.usual_pixel_scale() or data.stored(0).pixel_scale


def manifest(data: LabelledSet) -> dict[str, Any]:
    """What `lensequiv simulate` wrote about a set; empty for any other set."""
    try:
        described = json.loads(data.manifest())
        str(described["recipe"]["name"])
    except (ValueError, TypeError, KeyError):
        return {}
    return dict(described)
