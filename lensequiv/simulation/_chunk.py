"""One chunk of a stream: drawn and posed on the processor, made on a device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.simulation._draw import Arrays, draw, mirror, rotate, stack
from lensequiv.simulation._observe import generator_of, observe_batch
from lensequiv.simulation._quantities import QUANTITIES, quantities_of
from lensequiv.simulation._rerender import render_pieces, used_places
from lensequiv.simulation.noise import is_pixelwise
from lensequiv.simulation.recipes import Recipe

__all__ = [
    "GROUPS",
    "Job",
    "LensChunk",
    "Prepared",
    "Rendered",
    "expose",
    "heaviest_masses",
    "prepare",
    "render",
]

# Parts of a chunk with random streams of their own: what processes may share.
GROUPS = 8
# A lens may have more point masses; the heaviest ones say enough.
MASSES = 128
# What rendering and noise do without.
_UNUSED = ("mass", "z_lens", "z_source", "substructure_mass")
# How the names begin of what each class has of its own, whatever the lens.
_OWN = ("mass", "theta_e")


class LensChunk(NamedTuple):
    """Lenses made together, on the device of their stream.

    Attributes:
        images: (N, 1, size, size) float32 counts, neither scaled nor preprocessed.
        labels: (N,) int64, the classes in equal parts, shuffled.
        masses: (N, 128, 3) float32: x and y from the central pixel of `images`, x along
            columns and y along rows (*unit*: pixels), and squared Einstein radius
            (*unit*: arcsec^2) of the heaviest point masses; zeros fill up.
        pixel_scale: (N,) float32. *Unit*: arcsec/pixel.
        quantities: (N, 5) float32, the true quantities of the lenses, whose names and
            units `QUANTITIES` has in this order; NaN where one is not defined.
    """

    images: Tensor
    labels: Tensor
    masses: Tensor
    pixel_scale: Tensor
    quantities: Tensor


@dataclass(frozen=True)
class Job:
    """What a chunk is made of, or a part of one.

    Attributes:
        recipe: The recipe.
        frame: Side of what is rendered, from which `size` pixels are cropped. Even or
            odd as the recipe's own frame is.
        size: Side of the images in pixels.
        shift: Largest shift along either axis in pixels.
        seed: Of the stream.
        number: Of the chunk.
        groups: Which of its groups.
        lenses: In a group, of each class.
        matched: Whether the classes have the same lenses.
        noise: Whether to add noise.
        device: Where to make the images.
    """

    recipe: Recipe
    frame: int
    size: int
    shift: int
    seed: int
    number: int
    groups: range
    lenses: int
    matched: bool
    noise: bool
    device: torch.device


@dataclass(frozen=True)
class Prepared:
    """All numbers of a chunk, drawn and posed.

    N lenses stand class by class; their places in the chunk are elsewhere. All arrays
    wait in two flat tensors, so that two copies bring them to the device.

    Attributes:
        job: What it is for.
        floats: float64: the quantities of all lenses, their numbers, then the lists of
            each class.
        integers: int64, (4, N): the lens's place in the chunk; which lens stands at a
            place; first column and row of the crop.
        names: Of the numbers that each lens has one of.
        lists: By class, name and shape of what lenses have lists of.
        used: By class, see `used_places`.
    """

    job: Job
    floats: Tensor
    integers: Tensor
    names: tuple[str, ...]
    lists: tuple[tuple[tuple[str, tuple[int, ...]], ...], ...]
    used: tuple[dict[str, NDArray[np.int64]], ...]


def prepare(job: Job) -> Prepared:
    """Draws and poses the lenses of a chunk, on the processor."""
    classes = range(len(job.recipe.classes))
    drawn: list[list[Arrays]] = [[] for _ in classes]
    places: list[list[NDArray[np.int64]]] = [[] for _ in classes]
    truths: list[list[NDArray[np.float64]]] = [[] for _ in classes]
    n = job.lenses
    for i, group in enumerate(job.groups):
        # The last number keeps these streams apart from those of `simulate`.
        key = [job.seed, job.number, group, 6 if job.matched else 3]
        rng = np.random.default_rng(key)
        mixed = _mixed(rng, len(classes), n, job.matched) + i * n * len(classes)
        for label in classes:
            if job.matched:
                rng = np.random.default_rng([*key, 0])
            flipped, angle = rng.random(n) < 0.5, rng.uniform(0, 360, n)
            shift = rng.integers(-job.shift, job.shift + 1, (2, n))
            p = draw(job.recipe, label, rng, n, interpolated=True)
            truths[label].append(quantities_of(job.recipe, label, p))
            p = rotate(mirror(p, flipped), angle)
            if job.matched and label:
                p |= {k: v for k, v in drawn[0][-1].items() if not k.startswith(_OWN)}
            drawn[label].append({k: v for k, v in p.items() if k not in _UNUSED})
            places[label].append(np.stack([mixed[label], *shift]))
    lenses, integers, used, quantities = [], [], [], []
    for parts, at, truth in zip(drawn, places, truths, strict=True):
        p = {name: stack([part[name] for part in parts]) for name in parts[0]}
        counts = used_places(p)
        # Lenses with as many masses go together, so that few places are empty.
        order = np.argsort(counts["mass"], kind="stable")
        lenses.append({name: value[order] for name, value in p.items()})
        used.append({name: value[order] for name, value in counts.items()})
        integers.append(np.concatenate(at, 1)[:, order])
        quantities.append(np.concatenate(truth)[order])
    names = tuple(name for name, v in lenses[0].items() if v.ndim == 1)
    lists = tuple(
        tuple((name, v.shape) for name, v in p.items() if v.ndim == 2) for p in lenses
    )
    floats = [np.concatenate(quantities).ravel()]
    floats += [p[name] for name in names for p in lenses]
    floats += [
        p[name].ravel()
        for p, found in zip(lenses, lists, strict=True)
        for name, _ in found
    ]
    place, shift_x, shift_y = np.concatenate(integers, 1)
    still = (job.frame - job.size) // 2
    crop = [place, np.argsort(place), still - shift_x, still - shift_y]
    return Prepared(
        job=job,
        floats=_pinned(np.concatenate(floats), job.device),
        integers=_pinned(np.stack(crop), job.device),
        names=names,
        lists=lists,
        used=tuple(used),
    )


def _mixed(
    rng: np.random.Generator, classes: int, lenses: int, matched: bool
) -> NDArray[np.int64]:
    """Places of the lenses in a group, (classes, lenses): those of a set together."""
    if not matched:
        return rng.permutation(lenses * classes).reshape(classes, lenses)
    within = rng.permuted(np.tile(np.arange(classes), (lenses, 1)), axis=1)
    return within.T + classes * np.arange(lenses)


def _pinned(
    values: NDArray[np.float64] | NDArray[np.int64], to: torch.device
) -> Tensor:
    """As a tensor, ready to be copied to a device while others are computed."""
    tensor = torch.from_numpy(values)
    if to.type != "cuda":
        return tensor
    with torch.cuda.device(to):  # threads begin on the first one
        return tensor.pin_memory()


@dataclass(frozen=True)
class Rendered:
    """The lenses of a chunk before they are observed, in the order of the chunk.

    Attributes:
        job: What they are for.
        lenses: Their images are (N, side, side) expected counts: cropped, unless the
            noise may depend on all the light of a frame.
        crop: (2, N): first column and row of what is cropped afterwards; None where
            the images are cropped.
        numbers: What each lens has one of, (N,) each.
    """

    job: Job
    lenses: LensChunk
    crop: Tensor | None
    numbers: dict[str, Tensor]


def render(prepared: Prepared) -> Rendered:
    """Renders the lenses and crops, without waiting for the device."""
    job, recipe = prepared.job, prepared.job.recipe
    place, order, left, top = prepared.integers.to(job.device, non_blocking=True)
    quantities, numbers, lenses = _unpacked(prepared)
    total, by_name = len(place), dict(zip(prepared.names, numbers, strict=True))
    whole = job.noise and not is_pixelwise(recipe.noise)
    side = recipe.pixels if whole else job.size
    edge = (recipe.pixels - job.frame) // 2
    images = torch.empty(total, side, side, device=job.device)
    masses = images.new_zeros(total, MASSES, 3)
    scale = by_name.get("pixel_scale", numbers.new_full((total,), recipe.pixel_scale))
    centre = (job.frame - 1) / 2 - (job.size - 1) // 2  # less the start of the crop
    small = replace(recipe, pixels=job.frame)
    first = 0
    for name, lens, used in zip(recipe.classes, lenses, prepared.used, strict=True):
        straight = recipe.substructure[name].straight
        here = slice(first, first + len(used["mass"]))
        x, y = centre - left[here], centre - top[here]
        heavy = heaviest_masses(_placed_masses(lens, scale[here], x, y))
        masses[place[here], : heavy.shape[1]] = heavy
        for at, rendered in render_pieces(small, lens, used, straight=straight):
            piece = slice(first + at.start, first + at.stop)
            images[place[piece]] = (
                F.pad(rendered, (edge,) * 4)
                if whole
                else _crop(rendered, left[piece], top[piece], job.size)
            )
        first = here.stop
    chunk = LensChunk(
        images=images,
        labels=order // (total // len(recipe.classes)),
        masses=masses,
        pixel_scale=scale[order].float(),
        quantities=quantities[order].float(),
    )
    return Rendered(
        job=job,
        lenses=chunk,
        crop=torch.stack([left[order], top[order]]) + edge if whole else None,
        numbers=dict(zip(prepared.names, numbers[:, order], strict=True)),
    )


def expose(rendered: Rendered, exposure: int = 0) -> LensChunk:
    """Observes rendered lenses once, without waiting for the device.

    Args:
        rendered: The lenses, which stay as they are.
        exposure: Which exposure; each has noise of its own.
    """
    job, images = rendered.job, rendered.lenses.images
    if job.noise:
        images = _observed(rendered, exposure)
    if rendered.crop is not None:
        left, top = rendered.crop
        images = _crop(images, left, top, job.size)
    return rendered.lenses._replace(images=images[:, None])


def _unpacked(prepared: Prepared) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
    """Quantities (N, 5) and numbers (names, N) of all lenses; parameters by class."""
    floats = prepared.floats.to(prepared.job.device, non_blocking=True)
    total, names = prepared.integers.shape[1], prepared.names
    first = len(QUANTITIES) * total
    quantities = floats[:first].view(total, len(QUANTITIES))
    numbers = floats[first : first + len(names) * total].view(len(names), total)
    lenses, first = [], first + len(names) * total
    for part, found in zip(
        numbers.chunk(len(prepared.lists), 1), prepared.lists, strict=True
    ):
        lens = dict(zip(names, part, strict=True))
        for name, shape in found:
            lens[name] = floats[first : first + math.prod(shape)].view(shape)
            first += math.prod(shape)
        lenses.append(lens)
    return quantities, numbers, lenses


def _placed_masses(
    lens: dict[str, Tensor], scale: Tensor, centre_x: Tensor, centre_y: Tensor
) -> Tensor:
    """All masses in the units of `LensChunk.masses`, (N, K, 3) float64."""
    theta2 = lens["mass_theta2"]
    x = lens["mass_x"] / scale[:, None] + centre_x[:, None]
    y = lens["mass_y"] / scale[:, None] + centre_y[:, None]
    return torch.stack([x, y, theta2], 2) * (theta2 > 0)[..., None]


def heaviest_masses(masses: Tensor) -> Tensor:
    """The 128 heaviest point masses of each lens.

    Args:
        masses: (N, K, 3): x, y and squared Einstein radius.

    Returns:
        (N, 128, 3) float32; all of them, in their order, where there are no more.
    """
    if masses.shape[1] > MASSES:
        order = masses[..., 2].argsort(dim=1, descending=True, stable=True)
        masses = masses.gather(1, order[:, :MASSES, None].expand(-1, -1, 3))
    return masses.float()


def _crop(images: Tensor, left: Tensor, top: Tensor, size: int) -> Tensor:
    """A square of each image, (B, n, n) to (B, size, size)."""
    which = torch.arange(len(images), device=images.device)
    along = torch.arange(size, device=images.device)
    rows, columns = top[:, None] + along, left[:, None] + along
    return images[which[:, None, None], rows[:, :, None], columns[:, None, :]]


def _observed(rendered: Rendered, exposure: int) -> Tensor:
    """Images with noise, from one random stream a group and exposure."""
    job, images = rendered.job, rendered.lenses.images.clone()
    count = len(images) // len(job.groups)
    for i, group in enumerate(job.groups):
        at = slice(i * count, (i + 1) * count)
        key = (group, 4) if exposure == 0 else (group, exposure, 5)
        images[at] = observe_batch(
            job.recipe.noise,
            images[at],
            {name: value[at] for name, value in rendered.numbers.items()},
            generator_of(job.device, job.seed, job.number, *key),
        )
    return images
