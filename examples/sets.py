"""The data sets of a training run, and what is checked before its first step.

Whatever a run needs at its end is looked at before it begins: every image, the classes
of all sets, room on the disk. Hours of work are not to fail for a missing folder.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lensequiv.data import ClassFolder, HDF5Images, open_dataset, read_stored
from lensequiv.models import LensNetwork
from lensequiv.simulation import LensStream, load_recipe
from lensequiv.transforms import CropAndScale, resample

_SHIFT = 6  # pixels, of the lenses of a `SimulatedSet`


class SimulatedSet:
    """Lenses of a recipe in any pose, as training has them, simulated when wanted.

    Args:
        recipe: Name or file of a recipe.
        images: Their number, over all classes: a multiple of 8 times those.
        seed: Of the simulation.
        device: Where to simulate.

    Attributes:
        seed: Of the simulation.
        classes: In the order of the labels.
        labels: (N,) int64.
    """

    def __init__(
        self, recipe: str, images: int, seed: int, device: torch.device
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
            elif (seed := manifest(path_of(data)).get("seed")) is not None:
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


def path_of(data: LabelledSet) -> Path:
    """Where a set lies."""
    return data.root if isinstance(data, ClassFolder) else data.path


def at_scale(images: Tensor, scales: tuple[float, float] | None) -> Tensor:
    """Images brought from one pixel scale to another; as they are if None.

    Args:
        images: (N, C, H, W).
        scales: What they have and what they should have. *Unit*: arcsec/pixel.
    """
    if scales is None:
        return images
    parts = [resample(part.float(), *scales) for part in images.split(512)]
    return torch.cat(parts).to(images.dtype)


def choose_size(model: LensNetwork, wanted: int | None, side: int, usual: int) -> int:
    """The side of the network's input, for training images of `side` pixels.

    Odd, so that the centre is a pixel.

    Args:
        model: Whose input it is.
        wanted: What the user asks for.
        side: Shorter side of the images in pixels.
        usual: What is taken without a wish, if it fits.

    Raises:
        ValueError: The network does not take the size, or the images are smaller.
    """
    valid = [size for size in model.input_sizes.range if size % 2]
    fitting = [size for size in valid if size <= side]
    if not fitting:
        raise ValueError(
            f"the images have {side} pixels; {model.name} takes at least {valid[0]}"
        )
    if wanted is None:
        size = max((s for s in fitting if s <= usual), default=fitting[0])
        if size < usual:
            print(f"input size {size}: the largest within images of {side} pixels")
        return size
    if wanted not in valid:
        near = sorted(valid, key=lambda size: abs(size - wanted))[:2]
        raise ValueError(
            f"--size {wanted}: {model.name} trains on odd sizes among "
            f"{model.input_sizes}; nearest: {' or '.join(map(str, sorted(near)))}"
        )
    if wanted > side:
        raise ValueError(
            f"--size {wanted}, but the images have {side} pixels; expected --size "
            f"{fitting[-1]} or less"
        )
    return wanted


def half_if_harmless(model: LensNetwork) -> dict[str, Any]:
    """How `load_arrays` may save memory without a change of what the network sees."""
    if isinstance(model.preprocess, CropAndScale):  # gain and offset are nothing to it
        return {"dtype": torch.float16, "scaled": True}
    return {}


def _name(data: LabelledSet, i: int) -> str:
    """Of an image, for messages."""
    if isinstance(data, ClassFolder):
        return str(data.paths[i])
    return f"{data.path} images[{int(data.rows[i])}]"


def check_images(
    model: LensNetwork,
    data: LabelledSet | SimulatedSet,
    images: Tensor | None = None,
) -> None:
    """Makes sure that every image of a set can be preprocessed.

    Args:
        model: For which.
        data: The set.
        images: Its images, if they are in memory; read one by one if not.

    Raises:
        ImageError: An image cannot be read.
        ValueError: An image does not fit the model; the message names it.
    """
    if isinstance(data, SimulatedSet):
        return  # a recipe makes no other images
    title = f"checking {path_of(data).name}"
    for i in tqdm(range(len(data)), desc=title, unit="img", delay=2):
        image = data[i][0] if images is None else images[i].float()
        if len(image) != model.in_channels:
            raise ValueError(
                f"{_name(data, i)} has {len(image)} channels; expected "
                f"{model.in_channels}"
            )
        try:
            model.preprocess(image)
        except ValueError as error:
            raise ValueError(f"{_name(data, i)}: {error}") from None


def check_room(out: Path, model: LensNetwork, copies: int) -> None:
    """Makes the folder, and sure that it can be written to and has room.

    Args:
        out: Folder for the results.
        model: What will be written.
        copies: How many times, in all.

    Raises:
        OSError: It cannot be made or written to, or the disk is too full.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
    needed = copies * sum(t.nbytes for t in model.parameters()) + 2**20
    if (free := shutil.disk_usage(out).free) < needed:
        raise OSError(
            f"{out} has room for {free / 2**20:.0f} MiB; expected {needed / 2**20:.0f}"
        )


def pixel_scale_of(data: LabelledSet) -> float | None:
    """In arcsec, as the manifest of `lensequiv simulate` or the first file tells it."""
    recipe = manifest(path_of(data)).get("recipe", {})
    if isinstance(scale := recipe.get("pixel_scale"), int | float):
        return float(scale)
    if isinstance(data, HDF5Images):
        return None
    return read_stored(data.paths[0], plane=data.plane).pixel_scale


def manifest(path: Path) -> dict[str, Any]:
    """What `lensequiv simulate` wrote about a set; empty for any other set."""
    try:
        if path.is_dir():
            text = (path / "manifest.json").read_text()
        else:
            import h5py

            with h5py.File(path) as file:
                text = file.attrs.get("manifest", "{}")
        described = json.loads(text)
        str(described["recipe"]["name"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}
    return dict(described)
