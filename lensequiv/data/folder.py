"""A data set with one folder of images for each class."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lensequiv.data.checks import check_range, transformed
from lensequiv.data.errors import ImageError
from lensequiv.data.readers import find_images, read_image
from lensequiv.data.splits import stratified
from lensequiv.data.threads import over_files

_SHOWN = 3  # damaged files that a warning names
STANDARD_CLASSES = ("no", "sphere", "vort")
"""The classes of the 2021 study, in the order that every published weight uses."""


class ClassFolder(Dataset[tuple[Tensor, int]]):
    """Images in `root/<class>/`, read from disk one at a time.

    Within a class the images stand in natural order, sub-folders included. Hidden
    files and folders are left out, and so are files that lie in `root` itself.

    Attributes:
        classes: Names of the classes in the order of their labels.
        paths: The image files, class by class.
        labels: Index into `classes` of each file, (N,) int64.
        skipped: The damaged files that `check` left out, with the reasons.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        classes: Sequence[str] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        """List the images.

        Args:
            root: Folder that holds one folder for each class.
            classes: Names of the classes in the order of their labels; they must be
                exactly the folders of `root`. By default `no`, `sphere`, `vort` and
                then any others in alphabetical order where those three are present,
                and alphabetical order where they are not.
            transform: Applied to each image, (C, H, W) float32, by `__getitem__`.
            on_error: With "raise", no image is read yet, and a damaged one raises
                when its turn comes. With "skip", every image is read once, here, with
                a progress bar (see `check`), and damaged ones are left out from the
                start: length, labels and samplers then never change during a run.

        Raises:
            FileNotFoundError: `root` does not exist.
            NotADirectoryError: `root` is a file.
            ImageError: `root` has no class folder, a class has no folder or no
                (undamaged) image, or a folder is not among `classes`.
            ValueError: `classes` is a single string, empty, or names a class twice;
                `on_error` is neither "raise" nor "skip".
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}; expected 'raise' or 'skip'")
        self.root = Path(root)
        self.classes = _resolve_classes(self.root, classes)
        self.transform = transform
        self.on_error = on_error
        self.skipped: list[tuple[Path, str]] = []
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = find_images(self.root / name)
            self.paths += found
            labels += [label] * len(found)
        self.labels = torch.tensor(labels, dtype=torch.int64)
        if on_error == "skip":
            self._check(progress=True)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

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
        image = torch.from_numpy(read_image(self.paths[index]))
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
                read_image(self.paths[index])
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
        shown = "\n".join(f"  {why}" for _, why in damaged[:_SHOWN])
        more = len(damaged) - _SHOWN
        warnings.warn(
            f"{len(damaged)} of {len(reasons)} images in {self.root} were left out:\n"
            + shown
            + (f"\n  and {more} more: see `skipped`" if more > 0 else ""),
            stacklevel=3,
        )

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

    def take(self, positions: Tensor) -> Self:
        """The set of some of the images, in the order of `paths`.

        Args:
            positions: Which ones, (M,) integers from 0 to `len(self)` - 1.

        Returns:
            A data set with this one's classes, transform and `skipped`.

        Raises:
            IndexError: A position is not one of the set's.
        """
        part = copy.copy(self)
        part.skipped = list(self.skipped)
        part._keep(positions.sort().values)
        return part

    def _keep(self, positions: Tensor) -> None:
        """Restrict the set to these positions, int64."""
        self.paths = [self.paths[i] for i in positions.tolist()]
        self.labels = self.labels[positions]

    def load_arrays(
        self, progress: bool = True, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Read all images into memory, without the transform.

        Args:
            progress: Whether to show a progress bar.
            dtype: Of the result, floating; float16 halves the memory and keeps counts
                up to 2048 exactly.

        Returns:
            Images in the order of `paths` and `labels`, (N, C, H, W) `dtype`, in the
            unit of the files.

        Raises:
            ImageError: A file does not hold a usable image, one differs from the
                first in shape, or a pixel is beyond the range of `dtype`. Images of
                several shapes are no damage: they raise with any `on_error`.
            OSError: A file cannot be opened.
        """
        first = read_image(self.paths[0])
        images = torch.empty((len(self), *first.shape), dtype=dtype)

        def read(index: int) -> None:
            image = read_image(self.paths[index])
            if image.shape != first.shape:
                raise ImageError.because(
                    self.paths[index],
                    f"holds an image of shape {image.shape}",
                    f"shape {first.shape} as in {self.paths[0]}",
                )
            check_range(image, dtype, self.paths[index])
            images[index] = torch.from_numpy(image)

        for _ in over_files(read, len(self), progress):
            pass
        return images


def _resolve_classes(root: Path, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Compare the folders of `root` with the classes asked for, and order them."""
    if isinstance(classes, str) or (classes is not None and len(classes) == 0):
        raise ValueError(f"classes is {classes!r}; expected a list of class names")
    folders = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not folders:
        raise ImageError.because(root, "holds no folder", "one folder for each class")
    if classes is None:
        standard = STANDARD_CLASSES if set(STANDARD_CLASSES) <= set(folders) else ()
        return (*standard, *(name for name in folders if name not in standard))
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes names a class twice: {list(classes)}")
    missing = [name for name in classes if name not in folders]
    unexpected = [name for name in folders if name not in classes]
    for found, names in (("lacks", missing), ("also holds", unexpected)):
        if names:
            raise ImageError.because(
                root,
                f"{found} the class folders {', '.join(names)}",
                f"exactly the folders {', '.join(classes)}",
            )
    return tuple(classes)
