"""Output files: checked before the work, and never left half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["check_output", "write_atomically"]


def check_output(
    path: str | os.PathLike[str],
    *,
    suffixes: Sequence[str] = (),
    overwrite: bool = True,
    parents: bool = False,
) -> Path:
    """Makes sure that a file can be written, before the work whose result it will hold.

    Nothing that is there is changed.

    Args:
        path: The file.
        suffixes: Endings that the name may have, such as `".png"`, upper and lower case
            alike; any ending if there are none.
        overwrite: Whether the file may exist already.
        parents: Whether missing folders will be made.

    Returns:
        The path.

    Raises:
        FileExistsError: The file exists, and `overwrite` is False.
        FileNotFoundError: Its folder does not exist, and `parents` is False.
        IsADirectoryError: The path is a folder.
        NotADirectoryError: What stands in the place of its folder is a file.
        OSError: No file can be made in that folder, for instance as the disk is full.
        PermissionError: The file, or its folder, may not be written to.
        ValueError: The name has another ending, or the path is a device or a pipe.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        found = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise ValueError(f"{path} {found}; expected one of {', '.join(suffixes)}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the name of a file")
    if path.exists():
        if not path.is_file():
            raise ValueError(f"{path} is no ordinary file; expected one, or a new name")
        if not overwrite:
            raise FileExistsError(
                f"{path} exists: choose a new name, or remove it first"
            )
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path} is write-protected: choose another name")
    folder = path.parent
    if not parents and not folder.exists():
        raise FileNotFoundError(
            f"the folder {folder} does not exist, so {path.name} cannot be written"
        )
    _try_to_write(folder)
    return path


def _try_to_write(folder: Path) -> None:
    """Makes a file without a name in a folder, or in the nearest one that exists."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is a file; expected a folder")
    try:
        # Permissions alone do not tell: the file system may be read-only or full.
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        what = f"no file can be written to {place} ({error.strerror})"
        raise type(error)(what) from error


def write_atomically(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Writes a file that is, at any moment, either the old one or the new one.

    Args:
        path: The file.
        content: All of it.
        sync: Whether it has to survive a power failure, too, which takes a while.

    Raises:
        OSError: It cannot be written, for instance as the disk is full. The message
            names the file, and the old one, if any, is still there.
    """
    try:
        _write(path, content, sync)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # not the temporary one
        raise


def _write(path: Path, content: bytes, sync: bool) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
