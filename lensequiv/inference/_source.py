"""Named images from files, folders, arrays and tensors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv.data import (
    ImageError,
    ImageStack,
    StoredImage,
    as_images,
    find_images,
    open_stack,
    read_stored,
)
from lensequiv.data.readers import plane_asked_for

__all__ = [
    "ImagesOrPaths",
    "Loaded",
    "PathLike",
    "Source",
    "resolve_paths",
    "source_of",
]

_OPEN_STACKS = 2  # whose blocks are kept

PathLike = str | os.PathLike[str]
ImagesOrPaths = NDArray[Any] | Tensor | PathLike | Sequence[PathLike]


@dataclass(frozen=True)
class Loaded:
    """An image as it was stored.

    Attributes:
        image: (C, H, W) in any flux unit.
        pixel_scale: Of its header, or of the manifest of its set; None if neither
            has one. *Unit*: arcsec/pixel.
        notes: What its file says against it: flagged pixels, for instance.
        corner: Row and column of its first pixel in the file, where a margin without
            data was cut away.
    """

    image: Tensor
    pixel_scale: float | None = None
    notes: tuple[str, ...] = ()
    corner: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Source:
    """Named images, read one by one, in any order and by several threads.

    Attributes:
        names: Of all images, for messages and results.
        load: Reads one by its position.
        paths: The names, if they are paths; None for arrays.
        has_headers: Whether images may know their pixel scale.
    """

    names: Sequence[str]
    load: Callable[[int], Loaded]
    paths: list[str] | None = None
    has_headers: bool = True

    def read(self, i: int) -> Tensor:
        """The pixels of one image, (C, H, W)."""
        return self.load(i).image


def resolve_paths(x: PathLike | Sequence[PathLike]) -> list[str]:
    """Files named by a path, a folder (searched recursively) or a list of these.

    Raises:
        FileNotFoundError: A path does not exist.
        ImageError: A folder holds no images.
        ValueError: The list is empty.
    """
    given = [x] if isinstance(x, str | os.PathLike) else list(x)
    if not given:
        raise ValueError("x is an empty list; expected paths of images")
    found: list[str] = []
    for item in map(Path, given):
        if item.is_dir():
            found += map(str, find_images(item))
        elif item.exists():
            found.append(str(item))
        else:
            raise FileNotFoundError(f"{item} does not exist")
    return found


def _is_paths(x: ImagesOrPaths) -> TypeGuard[PathLike | Sequence[PathLike]]:
    return isinstance(x, str | os.PathLike) or (
        isinstance(x, Sequence) and all(isinstance(i, str | os.PathLike) for i in x)
    )


def source_of(
    x: ImagesOrPaths,
    plane: int | str | None = None,
    hdu: int | str | None = None,
) -> Source:
    """The images that `lensequiv.predict` was given.

    Args:
        x: See `lensequiv.predict`.
        plane: See `lensequiv.predict`.
        hdu: See `lensequiv.predict`.

    Raises:
        FileNotFoundError: A path does not exist.
        ImageError: A folder holds no images, or an array is not usable.
        TypeError: `x` is neither paths nor an array.
        ValueError: The list is empty, or `plane` or `hdu` is given for an array.
    """
    if not _is_paths(x):
        for keyword, value in (("plane", plane), ("hdu", hdu)):
            if value is not None:
                raise ValueError(f"{keyword}={value!r} is for files; x is an array")
        stack = as_images(x)  # type: ignore[arg-type]  # TypeGuard has no else branch
        names = [f"x[{i}]" for i in range(len(stack))]
        return Source(names, lambda i: Loaded(stack[i]), has_headers=False)
    paths = resolve_paths(x)
    files = _Files(paths, plane_asked_for(map(Path, paths), plane, hdu))
    return Source(files.names, files.load, files.names)


class _Files:
    """Images in files: one in most, many where a file holds a stack.

    Args:
        paths: The files.
        plane: Which image of each that has several.
    """

    def __init__(self, paths: Sequence[str], plane: int | str | None) -> None:
        self.plane, self.names = plane, []
        self._places: list[tuple[str, int | None]] = []
        self._stacks: dict[str, ImageStack] = {}
        self._lock = threading.Lock()
        for path in paths:
            try:
                stack = open_stack(path, plane=plane)
            except (ImageError, OSError):
                stack = None  # reading it will say why, if that is to be skipped
            if stack is None:
                self.names.append(path)
                self._places.append((path, None))
            else:
                self.names += [stack.name(i) for i in range(len(stack))]
                self._places += [(path, i) for i in range(len(stack))]

    def load(self, i: int) -> Loaded:
        """Reads one image, by any thread."""
        path, index = self._places[i]
        if index is None:
            stored: StoredImage = read_stored(path, plane=self.plane, trim=True)
        else:
            stored = self._stack(path).read(index)
        image = torch.from_numpy(stored.image)
        return Loaded(image, stored.pixel_scale, stored.notes, stored.corner)

    def _stack(self, path: str) -> ImageStack:
        """The stack of a file; the blocks of few stacks wait in memory."""
        with self._lock:
            if path not in self._stacks:
                stack = open_stack(path, plane=self.plane)
                if stack is None:
                    raise ImageError.because(
                        path, "holds no stack of images any more", "the same file"
                    )
                while len(self._stacks) >= _OPEN_STACKS:
                    del self._stacks[next(iter(self._stacks))]
                self._stacks[path] = stack
            return self._stacks[path]
