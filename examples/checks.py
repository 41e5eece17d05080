"""What is checked before the first step of a training run.

Whatever a run needs at its end is looked at before it begins: every image, the size of
the input, room on the disk. Hours of work are not to fail for a missing folder.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from sets import LabelledSet, Scales, SimulatedSet, at_scale
from torch import Tensor
from tqdm.auto import tqdm

from lensequiv.models import LensNetwork
from lensequiv.transforms import CropAndScale


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


def check_images(
    model: LensNetwork,
    data: LabelledSet | SimulatedSet,
    images: Tensor | None = None,
    scales: Scales = None,
) -> None:
    """Makes sure that every image of a set can be preprocessed.

    Args:
        model: For which.
        data: The set.
        images: Its images, if they are in memory; read one by one if not.
        scales: Between which images that are read are brought; see `sets.at_scale`.

    Raises:
        ImageError: An image cannot be read.
        ValueError: An image does not fit the model; the message names it.
    """
    if isinstance(data, SimulatedSet):
        return  # a recipe makes no other images
    title = f"checking {data.place.name}"
    for i in tqdm(range(len(data)), desc=title, unit="img", delay=2):
        if images is None:
            image = at_scale(data[i][0][None], scales)[0]
        else:
            image = images[i].float()
        if len(image) != model.in_channels:
            raise ValueError(
                f"{data.name_of(i)} has {len(image)} channels; expected "
                f"{model.in_channels}"
            )
        try:
            model.preprocess(image)
        except ValueError as error:
            raise ValueError(f"{data.name_of(i)}: {error}") from None


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
