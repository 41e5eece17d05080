"""The images in a folder, and what else lies there."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from pathlib import Path

from lensequiv.data.errors import ImageError
from lensequiv.data.readers import EXPECTED_FILES, extension_of

__all__ = ["find_images", "image_files", "warn_damaged", "warn_left_out"]

_SHOWN = 3  # damaged files that a warning names

# Files that lie beside images and that nobody takes for one.
_BESIDE = """
    .md .rst .txt .log .json .yaml .yml .toml .ini .cfg .csv .tsv .ecsv .dat .cat .reg
    .xml .html .pdf .svg .py .ipynb .sh .bib .tex .md5 .sha256 .sum .lock
"""
_TEXTS = """
    README LICENSE LICENCE COPYING NOTICE AUTHORS CITATION SHA256SUMS MD5SUMS CHECKSUMS
    Makefile Thumbs
"""


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List the readable image files of a folder and of the folders below it.

    Hidden files and folders (names that begin with a dot) are left out, and so are
    files with another extension; unless these are text, tables or figures such as lie
    beside images (README, `manifest.json`, `catalogue.csv`), one warning tells how many
    there are of each extension. Links are followed, each folder being visited once.

    Args:
        folder: The folder to search.

    Returns:
        The files in natural order: `2.npy` stands before `10.npy`.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: `folder` is a file.
        ImageError: No file has a readable extension.
    """
    paths, left_out = image_files(Path(folder))
    warn_left_out(Path(folder), left_out)
    return paths


def image_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Do what `find_images` does, and count what is left out in place of a warning.

    Args:
        folder: The folder to search.

    Returns:
        The files; and how many that could be images were left out, by extension.

    Raises:
        FileNotFoundError: As `find_images`.
        NotADirectoryError: As `find_images`.
        ImageError: As `find_images`.
    """
    paths = []
    seen = {folder.resolve()}
    for parent, children, files in os.walk(folder, onerror=_raise, followlinks=True):
        here = Path(parent)
        paths += [here / file for file in files if not file.startswith(".")]
        visible = sorted(child for child in children if not child.startswith("."))
        children.clear()
        for child in visible:
            target = (here / child).resolve()
            if target not in seen:
                seen.add(target)
                children.append(child)
    left_out = _counted([path for path in paths if extension_of(path) is None])
    paths = [path for path in paths if extension_of(path) is not None]
    if not paths:
        found = (
            f"holds no image ({_listed(left_out)})" if left_out else "holds no image"
        )
        raise ImageError.because(folder, found, EXPECTED_FILES)
    return sorted(paths, key=lambda path: _natural(path.relative_to(folder))), left_out


def warn_left_out(folder: Path, left_out: Counter[str]) -> None:
    """Tell, in one warning at the caller's caller, what was left out of a folder.

    Args:
        folder: The folder that was searched.
        left_out: Files that could be images, by extension; nothing is told of none.
    """
    if left_out:
        warnings.warn(
            f"files in {folder} were left out: {_listed(left_out)}; lensequiv reads"
            f" {EXPECTED_FILES}",
            stacklevel=3,
        )


def warn_damaged(folder: Path, reasons: list[str], images: int) -> None:
    """Tell, in one warning two callers above the caller, which images were damaged.

    Args:
        folder: Of the data set.
        reasons: What is wrong with each damaged file.
        images: How many files there were in all.
    """
    more = len(reasons) - _SHOWN
    warnings.warn(
        f"{len(reasons)} of {images} images in {folder} were left out:\n"
        + "\n".join(f"  {reason}" for reason in reasons[:_SHOWN])
        + (f"\n  and {more} more: see `skipped`" if more > 0 else ""),
        stacklevel=4,
    )


def _counted(left_out: list[Path]) -> Counter[str]:
    """Count files that could be images by extension."""
    beside, texts = {*_BESIDE.split()}, {*_TEXTS.split()}
    return Counter(
        path.suffix.lower() or "without extension"
        for path in left_out
        if path.suffix.lower() not in beside and path.name.split(".")[0] not in texts
    )


def _listed(counts: Counter[str]) -> str:
    """Such as "3 .asdf, 1 without extension"."""
    return ", ".join(f"{n} {extension}" for extension, n in sorted(counts.items()))


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    """Sorting key that compares the digits in a path as numbers."""
    parts = [
        [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", p)]
        for p in path.parts
    ]
    return parts, str(path)


def _raise(error: OSError) -> None:
    """Let `os.walk` fail where it would skip a folder that it cannot open."""
    raise error
