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
    """
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
