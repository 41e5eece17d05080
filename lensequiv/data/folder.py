"""A data set with one folder of images for each class."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lensequiv.data.checks import transformed
from lensequiv.data.classes import resolve_classes
from lensequiv.data.errors import ImageError
from lensequiv.data.finding import image_files, warn_damaged, warn_left_out
from lensequiv.data.narrowing import check_float, narrowed
from lensequiv.data.pixel_scale import named_pixel_scale
from lensequiv.data.readers import plane_asked_for, read_image, read_stored
from lensequiv.data.splits import (
    Positions,
    class_counts,
    position,
    positions_of,
    stratified,
)
from lensequiv.data.stored import StoredImage
from lensequiv.data.threads import over_files


class ClassFolder(Dataset[tuple[Tensor, int]]):
    """Images in `root/<class>/`, read from disk one at a time.

    Within a class the images stand in natural order, sub-folders included. Hidden
    files and folders are left out, and so are files that lie in `root` itself.

    Attributes:
        classes: Names of the classes in the order of their labels.
        paths: The image files, class by class.
        labels: Index into `classes` of each file, (N,) int64.
        skipped: The damaged files that `check` left out, with the reasons.
        plane: Which image is read of files that have several; None: told by names.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        classes: Sequence[str] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        *,
        plane: int | str | None = None,
        hdu: int | str | None = None,
    ) -> None:
        """List the images.

        Args:
            root: Folder that holds one folder for each class; `~` is the home folder.
            classes: Names of the classes in the order of their labels; they must be
                exactly the folders of `root`. By default `no`, `sphere`, `vort` and
                then any others in alphabetical order where those three are present,
                and alphabetical order where they are not.
            transform: Applied to each image, (C, H, W) float32, by `__getitem__`.
            on_error: With "raise", no image is read yet, and a damaged one raises
                when its turn comes. With "skip", every image is read once, here, with
                a progress bar (see `check`), and damaged ones are left out from the
                start: length, labels and samplers then never change during a run.
            plane: Which image, where a file has several; see `read_image`.
            hdu: The same for FITS files, in their own word.

        Raises:
            FileNotFoundError: `root` does not exist.
            NotADirectoryError: `root` is a file.
            ImageError: `root` has no class folder, or holds the parts of a data set
                (`train`, `val`, `test`) in their place; a class has no folder or no
                (undamaged) image; or a folder is not among `classes`.
            ValueError: `classes` is a single string, empty, or names a class twice;
                both `plane` and `hdu` are given, or `hdu` for files without HDUs;
                `on_error` is neither "raise" nor "skip".
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}; expected 'raise' or 'skip'")
        self.root = Path(root).expanduser()
        self.classes = resolve_classes(self.root, classes)
        self.transform = transform
        self.on_error = on_error
        self.skipped: list[tuple[Path, str]] = []
        self.paths: list[Path] = []
        labels: list[int] = []
        left_out: Counter[str] = Counter()
        for label, name in enumerate(self.classes):
            found, others = image_files(self.root / name)
            left_out += others
            self.paths += found
            labels += [label] * len(found)
        warn_left_out(self.root, left_out)
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.plane = plane_asked_for(self.paths, plane, hdu)
        if on_error == "skip":
            self._check(progress=True)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __repr__(self) -> str:
        """Return the folder and the number of images of each class."""
        skipped = f"; {len(self.skipped)} left out" if self.skipped else ""
        counts = class_counts(self.labels, self.classes)
        return f"{type(self).__name__}({str(self.root)!r}: {counts}{skipped})"

    @property
    def place(self) -> Path:
        """The folder, `root`."""
        return self.root

    def name_of(self, index: int) -> str:
        """The path of an image."""
        return str(self.paths[index])

    def stored(self, index: int) -> StoredImage:
        """Read one image, without the transform, with what its file says about it.

        Raises:
            ImageError: The file does not hold a usable image.
        """
        return read_stored(self.paths[index], plane=self.plane)

    def manifest(self) -> str | bytes:
        """The text of `manifest.json`; "null" if there is none."""
        path = self.root / "manifest.json"
        return path.read_bytes() if path.is_file() else "null"

    def usual_pixel_scale(self) -> float | None:
        """That of the manifest, for images without one. *Unit*: arcsec/pixel."""
        return named_pixel_scale({"manifest": self.manifest()})

    def _read(self, index: int) -> np.ndarray:
        """Read one image as the file has it."""
        return read_image(self.paths[index], plane=self.plane)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one image.

        Args:
            index: Position in `paths`.

        Returns:
            The image, (C, H, W) float32 in the unit of the file unless the transform
            makes it otherwise, and its label.

        Raises:
            ImageError: The file does not hold a usable image (with `on_error="skip"`:
                it was damaged since it was checked), or the transform refuses it.
            IndexError: There is no such position.
        """
        index = position(index)
        image = torch.from_numpy(self._read(index))
        image = transformed(self.transform, image, self.paths[index])
        return image, int(self.labels[index])

    def check(self, progress: bool = True) -> None:
        """Read every image once and keep none.

        With `on_error="skip"`, damaged files, and those that cannot be opened, leave
        `paths` and `labels` for `skipped`, and one warning tells how many they are.

        Args:
            progress: Whether to show a progress bar.

        Raises:
            ImageError: With `on_error="raise"`, a file does not hold a usable image;
                with "skip", a class has no other image.
            OSError: With `on_error="raise"`, a file cannot be opened.
        """
        self._check(progress)

    def _check(self, progress: bool) -> None:
        """As `check`; a warning names the line that called the caller of this."""

        def reason(index: int) -> str | None:
            try:
                self._read(index)
            except (ImageError, OSError) as error:
                if self.on_error == "raise":
                    raise
                return str(error)
            return None

        reasons = list(over_files(reason, len(self), progress))
        damaged = [
            (path, why) for path, why in zip(self.paths, reasons, strict=True) if why
        ]
        if not damaged:
            return
        kept = torch.tensor([why is None for why in reasons])
        for label in self.labels.unique().tolist():
            if not kept[self.labels == label].any():
                first = reasons[int(torch.nonzero(self.labels == label)[0])]
                raise ImageError.because(
                    self.root / self.classes[label],
                    f"holds damaged images alone ({first})",
                    "at least one that can be read",
                )
        self.skipped += damaged
        self._keep(torch.nonzero(kept).flatten())
        warn_damaged(self.root, [why for _, why in damaged], len(reasons))

    def split(self, fractions: Sequence[float], seed: int) -> list[Self]:
        """Divide the images at random, each class in the same proportions.

        Args:
            fractions: Share of each part; they add up to 1.
            seed: Not negative; the same files and seed give the same parts.

        Returns:
            A data set for each fraction, with this one's classes, transform and
            `skipped`; together they have every image once, in the order of `paths`.

        Raises:
            ValueError: The fractions are not positive or do not add up to 1, or a
                part would have no image of some class.
        """
        parts = stratified(self.labels, self.classes, fractions, seed)
        return [self.take(positions) for positions in parts]

    def take(self, positions: Positions) -> Self:
        """The set of some of the images, in the order of `paths`.

        Args:
            positions: How many: `take(30)` are the first ten of each of three classes.
                Or which ones: a list, array or tensor of whole numbers from 0 to
                `len(self)` - 1, a slice, or a boolean for each image.

        Returns:
            A data set with this one's classes, transform and `skipped`.

        Raises:
            IndexError: A position is not one of the set's.
            TypeError: `positions` is something else.
            ValueError: There are fewer images than asked for, no image is chosen, or
                there are more or fewer booleans than images.
        """
        part = copy.copy(self)
        part.skipped = list(self.skipped)
        part._keep(positions_of(positions, self.labels))
        return part

    def _keep(self, positions: Tensor) -> None:
        """Restrict the set to these positions, int64."""
        self.paths = [self.paths[i] for i in positions.tolist()]
        self.labels = self.labels[positions]

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
            dtype: Of the result, floating. float16 halves the memory; counts up to 2048
                stay exactly as they are, and an image that would keep fewer than 500
                levels between its sky and its peak (as fluxes in small units do, or on
                a pedestal) is refused rather than spoiled.
            scaled: For networks whose preprocessing is `CropAndScale`, to which gain
                and offset of an image are nothing: an image that `dtype` does not keep
                exactly is stored with sky 0 and peak 1, channel by channel.

        Returns:
            Images in the order of `paths` and `labels`, (N, C, H, W) `dtype`, in the
            unit of the files, but for what `scaled` allows.

        Raises:
            ImageError: A file does not hold a usable image, one differs from the
                first in shape, or `dtype` cannot hold it. Images of several shapes are
                no damage: they raise with any `on_error`.
            OSError: A file cannot be opened.
            ValueError: `dtype` is none that images can be stored in.
        """
        check_float(dtype)
        first = self._read(0)
        images = torch.empty((len(self), *first.shape), dtype=dtype)

        def read(index: int) -> None:
            image = self._read(index)
            if image.shape != first.shape:
                raise ImageError.because(
                    self.paths[index],
                    f"holds an image of shape {image.shape}",
                    f"shape {first.shape} as in {self.paths[0]} (sets of several shapes"
                    " are read image by image: transform=model.preprocess)",
                )
            images[index] = narrowed(image, dtype, self.paths[index], scaled)

        for _ in over_files(read, len(self), progress):
            pass
        return images
