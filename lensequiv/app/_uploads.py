"""The image of a file that was dropped into the page."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from lensequiv.data import open_stack, read_stored
from lensequiv.data.readers import extension_of

__all__ = ["FORMATS", "read_upload"]

FORMATS = (
    *(".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz", ".fz"),
    *(".npy", ".npz", ".png", ".jpg", ".jpeg", ".tif", ".tiff"),
)
"""Endings of the files that the page takes; HDF5 is left to the command line."""


def read_upload(
    name: str, content: bytes, hdu: str | None
) -> tuple[Tensor, float | None, list[str]]:
    """The image of a file, its pixel scale, and what the file says against it."""
    ending = extension_of(Path(name))
    if ending not in FORMATS:
        raise ValueError(
            f"{name} is none of the files that can be shown here: {', '.join(FORMATS)}"
        )
    chosen = int(hdu) if hdu and hdu.lstrip("-").isdigit() else hdu or None
    with tempfile.TemporaryDirectory(prefix="lensequiv-app-") as folder:
        path = Path(folder, f"image{ending}")
        path.write_bytes(content)
        try:
            stack = open_stack(path, plane=chosen)
            if stack is not None:
                raise ValueError(
                    f"{path} holds {len(stack)} images; expected one "
                    "(lensequiv predict takes them all)"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its notes say the same
                stored = read_stored(path, plane=chosen)
        except (OSError, ValueError) as error:
            # The name that the user knows; where it lay is the server's business.
            told = str(error).replace(str(path), name).replace(folder, "")
            raise ValueError(told) from None
    return torch.from_numpy(stored.image), stored.pixel_scale, list(stored.notes)
