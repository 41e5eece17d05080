"""Which weights come with the package, in which versions."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lensequiv._suggestions import did_you_mean

__all__ = [
    "Release",
    "find_release",
    "list_pretrained",
    "pretrained_info",
    "releases",
]

_FOLDER = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Release:
    """One version of a published weight, whose files never change again.

    Attributes:
        name: Of the weight, without the version.
        version: 1, 2, ...
        date: On which it was trained, as YYYY-MM-DD.
        sha256: Of its tensors' file.
        folder: That holds it, below `weights/bundled`; None if it has left the package.
        changes: What is different from the version before; for one that has left the
            package also where it is now.
    """

    name: str
    version: int
    date: str
    sha256: str
    folder: str | None
    changes: str

    @property
    def directory(self) -> Path:
        """The folder with its files.

        Raises:
            ValueError: It is not in the package any more; the message says where it is.
        """
        if self.folder is None:
            raise ValueError(
                f"{self.name}@{self.version} is not part of this lensequiv: "
                f"{self.changes}"
            )
        return _FOLDER / self.folder


@cache
def _catalogue() -> dict[str, list[Release]]:
    """The versions of every weight, oldest first."""
    entries = json.loads(Path(__file__).with_name("catalogue.json").read_text())
    return {
        name: [Release(name, **version) for version in versions]
        for name, versions in entries.items()
    }


def list_pretrained(
    pattern: str = "*", *, maps: bool = False, quantities: bool = False
) -> list[str]:
    """Names of the bundled weights that match a shell-style pattern, sorted.

    A name stands for the newest version of its weight; `"c8-modelF@1"` is the first.

    Args:
        pattern: Such as `"c8-*"`.
        maps: Whether to name only weights that map the substructure, too.
        quantities: Whether to name only weights that tell quantities of a lens, too.
    """
    names = sorted(fnmatch.filter(_catalogue(), pattern))
    wanted = {"map": maps, "quantities": quantities}
    heads = [head for head, so in wanted.items() if so]
    return [name for name in names if not heads or _has_heads(name, heads)]


def _has_heads(name: str, heads: Sequence[str]) -> bool:
    newest = _catalogue()[name][-1]
    if newest.folder is None:
        return False
    config = json.loads((newest.directory / "config.json").read_text())
    return all(head in config for head in heads)


def releases(name: str) -> list[Release]:
    """All versions of a weight, oldest first.

    Args:
        name: One of `list_pretrained()`.
    """
    return list(_catalogue()[name])


def find_release(name: str) -> Release | None:
    """The version of a weight that a name stands for; None if no weight is called so.

    Args:
        name: `"c8-modelF"` for the newest version, `"c8-modelF@1"` for version 1.

    Raises:
        ValueError: The weight has no such version.
    """
    base, at, version = name.partition("@")
    releases = _catalogue().get(base)
    if releases is None:
        return None
    if not at:
        return releases[-1]
    for release in releases:
        if version == str(release.version):
            return release
    known = ", ".join(f"{base}@{release.version}" for release in releases)
    raise ValueError(f"{base!r} has no version {version!r}; known are {known}")


def test_scores(name: str) -> dict[str, Any]:
    """What a bundled weight scored on its test images, by its config."""
    directory = _catalogue()[name][-1].directory
    config = json.loads((directory / "config.json").read_text())
    scores: dict[str, Any] = config["info"]["metrics"]["test"]
    return scores


def pretrained_info(name: str) -> dict[str, Any]:
    """The config of a bundled weight: how it is built, trained and how it scored.

    Args:
        name: One of `list_pretrained()`, with `@` and a number for a version.

    Returns:
        The content of its `config.json`.

    Raises:
        ValueError: Unknown name or version.
    """
    from lensequiv.weights._format import read_config

    if (release := find_release(name)) is None:
        raise ValueError(
            f"unknown weight {name!r}; {did_you_mean(name, list_pretrained())}known "
            f"are {', '.join(list_pretrained())}"
        )
    return read_config(release.directory)
