"""A data set in one HDF5 file."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lensequiv.data.checks import check_image, transformed
from lensequiv.data.errors import ImageError
from lensequiv.data.hdf5 import NO_DATA, opened, without_fill
from lensequiv.data.hdf5_layout import find_set, read_classes, refuse_layout
from lensequiv.data.narrowing import check_float, check_float32, narrowed
from lensequiv.data.pixel_scale import named_pixel_scale
from lensequiv.data.splits import (
    Positions,
    class_counts,
    position,
    positions_of,
    stratified,
)
from lensequiv.data.stored import StoredImage

_BLOCK = 2**24  # bytes read at once by `load_arrays`


class HDF5Images(Dataset[tuple[Tensor, int]]):
    """Images in one HDF5 file, read from disk one at a time.

    The file has the data sets `images`, (N, H, W) or (N, C, H, W) of numbers, and
    `labels`, (N,) of integers, and the attribute `classes`, the names of the classes
    in the order of their labels. `lensequiv simulate` writes such files. Every process
    opens the file for itself when it reads its first image.

    Attributes:
        path: The file.
        classes: Names of the classes in the order of their labels.
        labels: Index into `classes` of each image, (N,) int64.
        rows: Where the images stand in the file, (N,) int64; see `split` and `take`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Read labels and classes and compare them with the shape of the images.

        Args:
            path: The file; `~` is the home folder.
            transform: Applied to each image, (C, H, W) float32, by `__getitem__`.

        Raises:
            FileNotFoundError: There is no such file.
            ImageError: The file is damaged or has another layout, or a label is not
                that of a class.
            ImportError: h5py is not installed.
        """
        self.path = Path(path).expanduser()
        self.transform = transform
        self._process = -1
        self._images: Any = None  # the open data set, which keeps its file open
        with opened(self.path) as file:
            images, labels = find_set(file, self.path)
            self.classes = read_classes(file, self.path)
            self._shape = tuple(images.shape)
            self._blank = {
                name: images.attrs[name] for name in NO_DATA if name in images.attrs
            }
            self.labels = torch.from_numpy(labels[()].astype(np.int64))
            for name, values in file.get("parameters", {}).items():
                if values.shape[:1] != labels.shape:
                    refuse_layout(
                        self.path,
                        f"has a parameter {name} of shape {values.shape} beside"
                        f" {len(labels)} labels",
                    )
        unknown = (self.labels < 0) | (self.labels >= len(self.classes))
        if unknown.any():
            index = int(torch.nonzero(unknown)[0])
            refuse_layout(
                self.path,
                f"has the label {int(self.labels[index])} at image {index}, but"
                f" {len(self.classes)} classes",
            )
        self.rows = torch.arange(len(self.labels))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Return the file and the number of images of each class."""
        counts = class_counts(self.labels, self.classes)
        return f"{type(self).__name__}({str(self.path)!r}: {counts})"

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one image.

        Args:
            index: Position in `labels`.

        Returns:
            The image, (C, H, W) float32 in the unit of the file unless the transform
            makes it otherwise, and its label.

        Raises:
            ImageError: The image is not usable, the transform refuses it, or the file
                cannot be read any more.
            IndexError: There is no such position.
        """
        index = position(index)
        image = torch.from_numpy(self.stored(index).image)
        image = transformed(self.transform, image, self.name_of(index))
        return image, int(self.labels[index])

    @property
    def place(self) -> Path:
        """The file, `path`."""
        return self.path

    def name_of(self, index: int) -> str:
        """The file and the place of an image in it."""
        return f"{self.path} images[{int(self.rows[index])}]"

    def stored(self, index: int) -> StoredImage:
        """Read one image, without the transform.

        Raises:
            ImageError: The image is not usable, or the file cannot be read any more.
        """
        row = int(self.rows[index])
        wide, block = self._read(row, row + 1)
        check_image(block[0], self.name_of(index))
        check_float32(wide[0], block[0], self.name_of(index))
        return StoredImage(block[0], plane="images", index=row)

    def manifest(self) -> str | bytes:
        """The text of the attribute `manifest`; "null" if there is none."""
        with opened(self.path) as file:
            text = file.attrs.get("manifest", "null")
        return text if isinstance(text, str | bytes) else "null"

    def usual_pixel_scale(self) -> float | None:
        """That of the file's attributes. *Unit*: arcsec/pixel."""
        with opened(self.path) as file:
            return named_pixel_scale(dict(file.attrs))

    def _read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Read rows of the file, (stop - start, C, H, W), NaN for no data.

        Returns:
            The pixels as they are stored, and in float32.
        """
        import h5py

        try:
            # A file opened before a fork must not be shared with the child.
            if self._images is None or self._process != os.getpid():
                self._images = h5py.File(self.path, "r")["images"]
                self._process = os.getpid()
            with np.errstate(over="ignore"):  # overflow is found, and named, later
                stored = self._images[start:stop]
                block: np.ndarray = stored.astype(np.float32, copy=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise ImageError.because(
                f"{self.path} images[{start}:{stop}]",
                f"cannot be decoded ({error})",
                "a complete HDF5 file",
            ) from error
        if self._blank:
            stored = without_fill(stored, self._blank, self.path)
            block = stored.astype(np.float32, copy=False)
        shape = (len(block), -1, *block.shape[-2:])
        return stored.reshape(shape), block.reshape(shape)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open file, for the workers of a data loader."""
        return {**self.__dict__, "_images": None}

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield successive positions, and their images as `_read` has them."""
        rows = self.rows.numpy()
        size = max(1, _BLOCK // (4 * int(np.prod(self._shape[1:]))))
        for start in range(0, self._shape[0], size):
            low, high = np.searchsorted(rows, [start, start + size])
            if low < high:
                first, last = int(rows[low]), int(rows[high - 1])
                stored, block = self._read(first, last + 1)
                within = rows[low:high] - first
                yield slice(low, high), stored[within], block[within]

    def load_arrays(
        self,
        progress: bool = True,
        dtype: torch.dtype = torch.float32,
        *,
        scaled: bool = False,
    ) -> Tensor:
        """Read all images into memory, without the transform.

        Args:
            progress: Whether to show a progress bar.
            dtype: As for `ClassFolder.load_arrays`.
            scaled: As for `ClassFolder.load_arrays`.

        Returns:
            Images in the order of `labels`, (N, C, H, W) `dtype`, in the unit of the
            file, but for what `scaled` allows.

        Raises:
            ImageError: An image is not usable, or `dtype` cannot hold it.
            ValueError: `dtype` is none that images can be stored in.
        """
        from tqdm import tqdm

        check_float(dtype)
        channels = self._shape[1] if len(self._shape) == 4 else 1
        shape = (len(self), channels, *self._shape[-2:])
        images = torch.empty(shape, dtype=dtype)
        with tqdm(
            total=len(self), desc="reading", unit="image", disable=not progress
        ) as bar:
            for positions, stored, block in self._blocks():
                rows = self.rows[positions].tolist()
                for row, wide, image, out in zip(
                    rows, stored, block, images[positions], strict=True
                ):
                    where = f"{self.path} images[{row}]"
                    check_image(image, where)
                    check_float32(wide, image, where)
                    if dtype.itemsize < 4:
                        out.copy_(narrowed(image, dtype, where, scaled))
                if dtype.itemsize >= 4:
                    images[positions] = torch.from_numpy(block)
                bar.update(len(block))
        return images

    def split(self, fractions: Sequence[float], seed: int) -> list[Self]:
        """Divide the images at random, each class in the same proportions.

        Args:
            fractions: Share of each part; they add up to 1.
            seed: Not negative; the same file and seed give the same parts.

        Returns:
            A data set for each fraction, with this one's classes and transform;
            together they have every image once, in the order of the file.

        Raises:
            ValueError: The fractions are not positive or do not add up to 1, or a
                part would have no image of some class.
        """
        parts = stratified(self.labels, self.classes, fractions, seed)
        return [self.take(positions) for positions in parts]

    def take(self, positions: Positions) -> Self:
        """The set of some of the images, in the order of the file.

        Args:
            positions: As for `ClassFolder.take`: how many, or which ones.

        Returns:
            A data set with this one's classes and transform.

        Raises:
            IndexError: A position is not one of the set's.
            TypeError: As for `ClassFolder.take`.
            ValueError: As for `ClassFolder.take`.
        """
        part, chosen = copy.copy(self), positions_of(positions, self.labels)
        part.rows, part.labels = self.rows[chosen], self.labels[chosen]
        return part
