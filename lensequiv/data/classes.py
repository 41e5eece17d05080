"""The classes of a data set, from the names of its folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lensequiv.data.errors import ImageError

STANDARD_CLASSES = ("no", "sphere", "vort")
"""The classes of the 2021 study, in the order that every published weight uses."""

_PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}


def resolve_classes(root: Path, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Compare the folders of a data set with the classes asked for, and order them.

    Args:
        root: Folder that holds one folder for each class.
        classes: See `lensequiv.data.ClassFolder`.

    Returns:
        The classes in the order of their labels.

    Raises:
        FileNotFoundError: `root` does not exist.
        NotADirectoryError: `root` is a file.
        ImageError: The folders are not those of the classes, or are parts of a data
            set.
        ValueError: `classes` is a single string, empty, or names a class twice.
    """
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
        _refuse_parts(root, folders)
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


def _refuse_parts(root: Path, folders: Sequence[str]) -> None:
    """Refuse a folder of data sets, `train` and the like, in the place of one."""
    if not set(folders) <= _PARTS:
        return
    for name in folders:
        children = [child for child in (root / name).iterdir() if child.is_dir()]
        if any(not child.name.startswith(".") for child in children):
            raise ImageError.because(
                root,
                f"holds the parts {', '.join(folders)} of a data set",
                f"one folder for each class: open a part, such as {root / name}",
            )
