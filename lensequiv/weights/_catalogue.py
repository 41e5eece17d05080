"""Which weights come with the package."""

from __future__ import annotations

import fnmatch
import json
from functools import cache
from pathlib import Path
from typing import Any

from lensequiv._suggestions import did_you_mean

__all__ = ["list_pretrained", "pretrained_info"]

_FOLDER = Path(__file__).parent / "bundled"


@cache
def _catalogue() -> dict[str, dict[str, str]]:
    path = Path(__file__).with_name("catalogue.json")
    entries: dict[str, dict[str, str]] = json.loads(path.read_text())
    return entries


def list_pretrained(pattern: str = "*") -> list[str]:
    """Names of the bundled weights that match a shell-style pattern, sorted."""
    return sorted(fnmatch.filter(_catalogue(), pattern))


def sha256_of(name: str) -> str:
    """The catalogue's checksum of a bundled weight."""
    return _catalogue()[name]["sha256"]


def bundled_directory(name: str) -> Path:
    """The folder of a bundled weight."""
    return _FOLDER / name


def test_scores(name: str) -> dict[str, Any]:
    """What a bundled weight scored on its test images, by its config."""
    config = json.loads((bundled_directory(name) / "config.json").read_text())
    scores: dict[str, Any] = config["info"]["metrics"]["test"]
    return scores


def pretrained_info(name: str) -> dict[str, Any]:
    """The config of a bundled weight: how it is built, trained and how it scored.

    Args:
        name: One of `list_pretrained()`.

    Returns:
        The content of its `config.json`.

    Raises:
        ValueError: Unknown name.
    """
    from lensequiv.weights._format import read_config

    if name not in _catalogue():
        raise ValueError(
            f"unknown weight {name!r}; {did_you_mean(name, list_pretrained())}known "
            f"are {', '.join(list_pretrained())}"
        )
    return read_config(bundled_directory(name))
