"""Bring a weight into a plain folder, for machines without a network."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from lensequiv.files import write_atomically
from lensequiv.pretrained._loading import from_pretrained, locate
from lensequiv.spec import Origin
from lensequiv.weights._catalogue import find_release
from lensequiv.weights._format import (
    CARD,
    CONFIG,
    WEIGHTS,
    WeightsError,
    read_config,
)
from lensequiv.weights._hub import HubOptions
from lensequiv.weights._provenance import PROVENANCE, write_provenance

__all__ = ["download_pretrained"]

_FILES = (WEIGHTS, CARD, PROVENANCE, CONFIG)


def download_pretrained(
    name: str,
    directory: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    force: bool = False,
) -> Origin:
    """Brings a bundled weight or one from the Hub into a plain folder.

    The weight is loaded from a temporary folder beside it, strictly, before `directory`
    appears or changes. `origin.json` in it records name, commit and checksum.

    Args:
        name: One of `list_pretrained()`, or a repository of the Hub, `owner/name`.
        directory: Made; one that exists has to be empty or hold the same weights.
        revision: As for `from_pretrained`.
        cache_dir: As for `from_pretrained`.
        token: As for `from_pretrained`.
        force: Fetch again even if cached, and replace other weights in `directory`. A
            folder with any other file is refused all the same.

    Returns:
        Where the weights are from, with commit and checksum.

    Raises:
        ValueError: Unknown name, or keywords of the Hub for a bundled weight.
        FileExistsError: `directory` holds something else.
        NotADirectoryError: `directory` is a file.
        HubError: As for `from_pretrained`.
        WeightsError: As for `from_pretrained`.
    """
    directory = Path(directory).resolve()
    _refuse_strangers(directory)
    # There is no fetching a bundled weight again.
    again = force and find_release(name) is None
    options = HubOptions(revision, cache_dir, token, force_download=again)
    source, origin = locate(name, options, card=True)
    if origin.source == "folder":
        raise ValueError(f"{name!r} is a folder here already; there is nothing to do")
    origin = replace(origin, sha256=read_config(source)["sha256"])
    if not force:
        _refuse_other_weights(directory, origin)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=directory.parent, prefix=f".{directory.name}."
    ) as temporary:
        folder = Path(temporary) / "weights"
        folder.mkdir()
        for file in (WEIGHTS, CARD, CONFIG):
            if (source / file).is_file():
                write_atomically(folder / file, (source / file).read_bytes())
        write_provenance(folder, origin)
        from_pretrained(folder)
        _install(folder, directory)
    return origin


def _refuse_strangers(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; expected a folder or nothing")
    if directory.is_dir():
        names = {path.name for path in directory.iterdir()}
        if strangers := sorted(names - set(_FILES)):
            raise FileExistsError(
                f"{directory} holds {strangers[0]!r}, which is not of a weight; choose "
                "another folder"
            )


def _refuse_other_weights(directory: Path, origin: Origin) -> None:
    if not directory.is_dir() or not any(directory.iterdir()):
        return
    try:
        found = read_config(directory)["sha256"]
    except (FileNotFoundError, WeightsError) as error:
        raise FileExistsError(
            f"{directory} is not empty, and holds no weights that load ({error}); "
            "force=True (--force) replaces what is there"
        ) from None
    if found != origin.sha256:
        raise FileExistsError(
            f"{directory} holds other weights (sha256 {found}) than {origin} "
            f"({origin.sha256}); force=True (--force) replaces them"
        )


def _install(folder: Path, directory: Path) -> None:
    """Puts a complete folder where it belongs."""
    if not directory.is_dir() or not any(directory.iterdir()):
        folder.replace(directory)
        return
    # File by file, the config last: what is cut short loads
    # as before or is refused.
    for file in _FILES:
        if (folder / file).is_file():
            write_atomically(directory / file, (folder / file).read_bytes())
        else:
            (directory / file).unlink(missing_ok=True)
