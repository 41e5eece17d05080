"""A data set with one folder of images for each class."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lensequiv.data.errors import ImageError
from lensequiv.data.readers import find_images, read_image

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
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        classes: Sequence[str] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """List the images; none is read yet.

        Args:
            root: Folder that holds one folder for each class.
            classes: Names of the classes in the order of their labels; they must be
                exactly the folders of `root`. By default `no`, `sphere`, `vort` and
                then any others in alphabetical order where those three are present,
                and alphabetical order where they are not.
            transform: Applied to each image, (C, H, W) float32, by `__getitem__`.

        Raises:
            FileNotFoundError: `root` does not exist.
            NotADirectoryError: `root` is a file.
            ImageError: `root` has no class folder, a class has no folder or no image,
                or a folder is not among `classes`.
            ValueError: `classes` is a single string, empty, or names a class twice.
        """
        root = Path(root)
        self.classes = _resolve_classes(root, classes)
        self.transform = transform
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = find_images(root / name)
            self.paths += found
            labels += [label] * len(found)
        self.labels = torch.tensor(labels, dtype=torch.int64)

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
            ImageError: The file does not hold a usable image.
            IndexError: There is no such position.
        """
        image = torch.from_numpy(read_image(self.paths[index]))
        if self.transform is not None:
            image = self.transform(image)
        return image, int(self.labels[index])

    def load_arrays(
        self, progress: bool = True, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Read all images into memory, without the transform.

        Args:
            progress: Whether to show a progress bar.
            dtype: Of the result; float16 halves the memory and keeps counts up to
                2048 exactly.

        Returns:
            Images in the order of `paths` and `labels`, (N, C, H, W) `dtype`, in the
            unit of the files.

        Raises:
            ImageError: A file does not hold a usable image, or one differs from the
                first in shape.
        """
        from tqdm import tqdm

        first = read_image(self.paths[0])
        images = torch.empty((len(self), *first.shape), dtype=dtype)
        bar = tqdm(self.paths, desc="reading", unit="image", disable=not progress)
        for index, path in enumerate(bar):
            image = first if index == 0 else read_image(path)
            if image.shape != first.shape:
                raise ImageError.because(
                    path,
                    f"holds an image of shape {image.shape}",
                    f"shape {first.shape} as in {self.paths[0]}",
                )
            images[index] = torch.from_numpy(image)
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
