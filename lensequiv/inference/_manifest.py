"""The pixel scale of simulated sets, whose images have no header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lensequiv._checks import check_positive

__all__ = ["ManifestScales", "scale_of_manifest"]

_LARGEST = 2**20  # bytes; what `lensequiv simulate` writes has two thousand


def scale_of_manifest(text: str | bytes) -> float | None:
    """The recipe's pixel scale in a manifest of `lensequiv simulate`.

    Args:
        text: Its JSON.

    Returns:
        The scale, or None where the text is something else. *Unit*: arcsec/pixel.
    """
    try:
        found: Any = json.loads(text)["recipe"]["pixel_scale"]
        return check_positive("pixel_scale", found)
    except (ValueError, TypeError, KeyError, IndexError):
        return None


class ManifestScales:
    """Looks up the manifest beside an image's class folder, once for each folder."""

    def __init__(self) -> None:
        self._found: dict[Path, float | None] = {}

    def of(self, path: str) -> float | None:
        """The pixel scale of the simulated set that a file belongs to.

        Args:
            path: An image in a class folder, or beside the manifest.

        Returns:
            The scale, or None where no manifest tells it. *Unit*: arcsec/pixel.
        """
        folder = Path(path).parent
        if folder not in self._found:  # two threads may both look, and find the same
            scales = (_read(place) for place in (folder, folder / ".."))
            self._found[folder] = next((s for s in scales if s is not None), None)
        return self._found[folder]


def _read(folder: Path) -> float | None:
    manifest = folder / "manifest.json"
    try:
        if not manifest.is_file() or manifest.stat().st_size > _LARGEST:
            return None
        return scale_of_manifest(manifest.read_bytes())
    except OSError:
        return None
