"""Files that are, at any moment, either the old ones or the new ones."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["write_atomically"]


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
