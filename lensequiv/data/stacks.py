"""Many images in one array of an HDF5 or NPZ file, read block by block."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lensequiv.data.checks import check_image
from lensequiv.data.errors import ImageError
from lensequiv.data.narrowing import check_float32
from lensequiv.data.stored import StoredImage

_BLOCK = 2**22  # bytes read at once
_KEPT = 2  # blocks: threads that read ahead are at most a block apart


class ImageStack:
    """The images of one file that holds many; made by `lensequiv.data.open_stack`.

    Blocks of images are read as they are asked for, so that memory does not grow with
    the file, and going through it in order is fast. Several threads may read at once.

    Attributes:
        path: The file.
        plane: Name of the array that holds the images.
        pixel_scale: In arcsec per pixel, where the file tells it.
        notes: As in `lensequiv.data.StoredImage`, about all images.
    """

    def __init__(
        self,
        path: Path,
        plane: str,
        shape: tuple[int, ...],
        itemsize: int,
        rows: Callable[[int, int], np.ndarray],
        pixel_scale: float | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Take what a reader of one format found.

        Args:
            path: See the class.
            plane: See the class.
            shape: (N, H, W) or (N, C, H, W).
            itemsize: Bytes of a pixel.
            rows: Reads images from the first number up to the second: (n, H, W) or
                (n, C, H, W), any integer or real type.
            pixel_scale: See the class.
            notes: See the class.
        """
        self.path, self.plane = path, plane
        self.pixel_scale, self.notes = pixel_scale, notes
        self.shape = shape
        pixels = int(np.prod(shape[1:], dtype=object))
        self._per_block = max(1, _BLOCK // max(1, pixels * itemsize))
        self._rows = rows
        self._blocks: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of images."""
        return self.shape[0]

    def __repr__(self) -> str:
        """File, array and shape."""
        return f"ImageStack({os.fspath(self.path)!r}, {self.plane!r}, {self.shape})"

    def name(self, index: int) -> str:
        """What an image is called in messages and results: `file.h5[17]`."""
        return f"{self.path}[{index}]"

    def read(self, index: int) -> StoredImage:
        """Read one image.

        Args:
            index: From 0 to `len(self)` - 1.

        Returns:
            The image, (C, H, W) float32, sharing memory with nothing, and what the file
            says about it.

        Raises:
            ImageError: There is no such image, or it cannot be decoded, holds pixels
                that are not finite, or is constant.
        """
        if not 0 <= index < len(self):
            raise ImageError.because(
                self.path,
                f"has no image {index}",
                f"an index from 0 to {len(self) - 1}",
            )
        number, row = divmod(index, self._per_block)
        with self._lock:
            if number not in self._blocks:
                while len(self._blocks) >= _KEPT:
                    del self._blocks[next(iter(self._blocks))]
                start = number * self._per_block
                stop = min(start + self._per_block, len(self))
                self._blocks[number] = self._rows(start, stop)
            stored = self._blocks[number][row]
        with np.errstate(over="ignore"):  # overflow is found, and named, just below
            image = np.array(stored, np.float32, order="C")
        image = image if image.ndim == 3 else image[None]
        check_image(image, self.name(index))
        check_float32(stored.reshape(image.shape), image, self.name(index))
        return StoredImage(image, None, self.pixel_scale, self.plane, index, self.notes)


def not_one_image(path: Path, name: str, shape: tuple[int, ...]) -> ImageError:
    """The error where one image was asked for and the file holds a stack.

    Args:
        path: The file.
        name: The array.
        shape: Its shape.

    Returns:
        The error, to be raised by the caller.
    """
    return ImageError.because(
        path,
        f"holds a stack of {shape[0]} images ({name}: {shape})",
        "one image; predict reads all of a stack, and so do"
        " lensequiv.data.open_stack, index= in read_stored and, where there are labels,"
        " lensequiv.data.HDF5Images",
    )
