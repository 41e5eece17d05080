"""Endless fresh lenses for training, posed exactly, made where the network is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from operator import index

import torch

from lensequiv._checks import check_count, check_flag
from lensequiv._threads import map_in_threads
from lensequiv.simulation._blocks import keep_memory
from lensequiv.simulation._checks import rendering_device
from lensequiv.simulation._chunk import (
    GROUPS,
    Job,
    LensChunk,
    expose,
    prepare,
    render,
)
from lensequiv.simulation._physics import check_extra
from lensequiv.simulation._simulate import checked_request
from lensequiv.simulation.detector import ElectronNoise
from lensequiv.simulation.noise import is_pixelwise
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["LensStream"]


class LensStream:
    """Endless fresh lenses for training.

    Each lens stands as a training image should: mirrored half the time, turned by any
    angle, shifted by whole pixels; made so by the simulator, not by interpolation, and
    only then observed. Its centre lies where a centre crop of the recipe's own images
    has it, plus the shift: half a pixel beyond the central pixel, in x and in y, where
    the recipe's frame is even and `size` is odd.

    Chunk i depends on recipes, seed, size, shift, chunk and i alone, on one device::

        stream = LensStream("modelJ", seed=1, device="cuda")
        for lenses in stream.chunks(start=0):
            train(lenses.images, lenses.labels)

    Args:
        recipes: One name of `RECIPES` or `Recipe`, or several with the same classes:
            chunk i is of recipe i modulo their number (i divided by `exposures`).
        seed: From 0 to 2**32 - 1.
        size: Side of the images in pixels.
        chunk: Lenses a chunk, a multiple of 8 times the number of classes.
        shift: Largest shift along either axis in pixels; shifts are whole numbers.
        device: Where to render and to draw the noise, and where all of a chunk is.
        noise: Whether to add noise; without it the expected counts.
        exposures: How often each lens is observed, each time with other noise: so many
            chunks in a row show the same lenses. Where rendering is the work, images
            cost that much less, and are worth less than those of new lenses.
        matched: Whether each lens is made once with the substructure of every class,
            so that its images differ in nothing but that and the noise. They follow
            one another in a chunk, in random order.

    Attributes:
        recipes: The recipes.
        classes: Class names, in the order of the labels.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: Unknown recipe or none, other classes in one than in another,
            frames that are too small, a number out of range, or no such device.
    """

    def __init__(
        self,
        recipes: str | Recipe | Sequence[str | Recipe],
        *,
        seed: int,
        size: int = 97,
        chunk: int = 3072,
        shift: int = 6,
        device: torch.device | str = "cpu",
        noise: bool = True,
        exposures: int = 1,
        matched: bool = False,
    ) -> None:
        check_extra()
        keep_memory()
        several = [recipes] if isinstance(recipes, str | Recipe) else recipes
        self.recipes = tuple(get_recipe(recipe) for recipe in several)
        if not self.recipes:
            raise ValueError("recipes is empty: expected at least one")
        self.classes = self.recipes[0].classes
        self.size, self.shift, self.noise = index(size), index(shift), noise
        if self.size < 1:
            raise ValueError(f"size={size}: expected at least 1 pixel")
        if self.shift < 0:
            raise ValueError(f"shift={shift}: expected 0 or more pixels")
        self.exposures = check_count("exposures", exposures)
        self.matched = check_flag("matched", matched)
        for recipe in self.recipes:
            self._check_recipe(recipe)
        self.chunk_size, self.seed = checked_request(chunk, seed, at_least=1)
        if self.chunk_size % (GROUPS * len(self.classes)):
            raise ValueError(
                f"chunk={chunk}: expected a multiple of {GROUPS} times "
                f"{len(self.classes)} classes"
            )
        self.device = rendering_device(device)

    def _check_recipe(self, recipe: Recipe) -> None:
        if recipe.classes != self.classes:
            raise ValueError(
                f"recipe {recipe.name!r} has the classes {', '.join(recipe.classes)}; "
                f"expected {', '.join(self.classes)}, as {self.recipes[0].name!r} has"
            )
        needed = self.size + 2 * self.shift + (recipe.pixels - self.size) % 2
        if needed > recipe.pixels:
            raise ValueError(
                f"size={self.size} with shift={self.shift} needs frames of {needed} "
                f"pixels; recipe {recipe.name!r} has {recipe.pixels}"
            )

    def chunk(self, number: int, *, part: int = 0, parts: int = 1) -> LensChunk:
        """Makes one chunk, or a process's part of it.

        Args:
            number: Which chunk, from 0.
            part: Which part, from 0.
            parts: Number of parts, which together are the whole chunk, in order: 1, 2,
                4 or 8.

        Returns:
            The lenses, on the stream's device.

        Raises:
            ValueError: A number is out of range.
        """
        groups = _groups(number, part, parts)
        scene, exposure = divmod(number, self.exposures)
        return expose(render(prepare(self._job(scene, groups))), exposure)

    def chunks(
        self, start: int = 0, *, part: int = 0, parts: int = 1, workers: int = 2
    ) -> Iterator[LensChunk]:
        """Makes chunk after chunk without end, their numbers drawn ahead in threads.

        Args:
            start: First chunk.
            part: See `chunk`.
            parts: See `chunk`.
            workers: Threads.

        Yields:
            What `chunk` returns. Closing the iterator ends the threads.

        Raises:
            ValueError: A number is out of range.
        """
        groups = _groups(start, part, parts)
        if workers < 1:
            raise ValueError(f"workers={workers}: expected at least 1")

        scene, first = divmod(start, self.exposures)

        def chunks() -> Iterator[LensChunk]:
            prepared = map_in_threads(
                lambda number: prepare(self._job(number, groups)),
                itertools.count(scene),
                workers,
                2 * workers,
            )
            begin = first
            with closing(prepared):
                for each in prepared:
                    rendered = render(each)
                    for exposure in range(begin, self.exposures):
                        yield expose(rendered, exposure)
                    begin = 0

        return chunks()

    def _job(self, number: int, groups: range) -> Job:
        """What the lenses of a number are made of, however often they are observed."""
        recipe = self.recipes[number % len(self.recipes)]
        return Job(
            recipe=recipe,
            frame=self._frame(recipe),
            size=self.size,
            shift=self.shift,
            seed=self.seed,
            number=number,
            groups=groups,
            lenses=self.chunk_size // GROUPS // len(self.classes),
            matched=self.matched,
            noise=self.noise,
            device=self.device,
        )

    def _frame(self, recipe: Recipe) -> int:
        """Side of what has to be rendered of a recipe's frame."""
        known = is_pixelwise(recipe.noise) or isinstance(recipe.noise, ElectronNoise)
        if self.noise and not known:
            return recipe.pixels  # a user's noise may depend on all the light
        # Light comes in from beyond the crop, as far as the point-spread function goes.
        reach = 2 * (self.shift + recipe.psf_size // 2)
        return min(self.size + reach + (recipe.pixels - self.size) % 2, recipe.pixels)


def _groups(number: int, part: int, parts: int) -> range:
    """Which groups of a chunk a part has.

    Raises:
        ValueError: A number is out of range.
    """
    if number < 0:
        raise ValueError(f"chunk {number}: expected a number from 0")
    if parts < 1 or GROUPS % parts:
        raise ValueError(f"parts={parts}: expected 1, 2, 4 or 8")
    if not 0 <= part < parts:
        raise ValueError(f"part={part}: expected from 0 to {parts - 1}")
    share = GROUPS // parts
    return range(part * share, (part + 1) * share)
