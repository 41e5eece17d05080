"""Weights from the Hugging Face Hub: all files of one commit, verified."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from lensequiv.weights._format import CARD, CONFIG, WEIGHTS, WeightsError
from lensequiv.weights._hub_errors import HubError, causes, explained

__all__ = ["HubOptions", "fetch", "is_repo_id"]

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPO_ID = re.compile(f"{_PART}/{_PART}")
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubOptions:
    """The keywords of `from_pretrained` that only the Hub understands."""

    revision: str | None = None
    cache_dir: str | Path | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    force_download: bool = False

    def given(self) -> list[str]:
        """Names of those that differ from their default."""
        return [f.name for f in fields(self) if getattr(self, f.name) != f.default]


def is_repo_id(name: str) -> bool:
    """Whether a string has the shape of a Hub repository's id, `owner/name`."""
    return len(name) <= 96 and _REPO_ID.fullmatch(name) is not None


def fetch(repo: str, options: HubOptions, *, card: bool = False) -> Path:
    """Brings a repository's weights into the Hub's cache, unless they are there.

    The revision becomes a commit with the first file; the others are fetched from that
    commit, so that a push between two downloads cannot mix files. Where the Hub cannot
    be reached, or may not be, the commit that the cache knows for the revision is used.
    The cache files an object under its checksum as the Hub announced it (git's SHA-1,
    or SHA-256); every file is compared with it, on every load. (A cache without
    symbolic links, as on Windows, has no such names; only the weights are verified
    there, by the config's checksum.)

    Args:
        repo: `owner/name`.
        options: Revision, cache, token and so on.
        card: Fetch `README.md`, too, if there is one.

    Returns:
        The folder of the commit in the cache; its name is the commit.

    Raises:
        ValueError: Options that exclude each other.
        HubError: A file could not be had; the message says why and what to do.
        WeightsError: A file in the cache is damaged.
    """
    if options.local_files_only and options.force_download:
        raise ValueError("local_files_only=True and force_download=True: choose one")
    config = _fetch_whole(repo, CONFIG, options.revision, options)
    commit = config.parent.name
    paths = [config, _fetch_whole(repo, WEIGHTS, commit, options)]
    if card and (readme := _fetch_card(repo, commit, options)):
        paths.append(readme)
    for path in paths:
        if path.parent.name != commit or not _COMMIT.fullmatch(commit):
            raise WeightsError(
                f"{path}: the server gave commit {path.parent.name!r}, where "
                f"{commit!r} was asked for: it is no faithful copy of the Hub"
            )
    return config.parent


def _fetch_whole(
    repo: str, file: str, revision: str | None, options: HubOptions
) -> Path:
    """Fetches a file that equals its checksum."""
    path = _fetch_file(repo, file, revision, options)
    if options.force_download and (not path.is_symlink() or _damage(path)):
        # The client leaves a copy in the cache as it was, and a link to an object that
        # once came under a wrong name; without them, it takes what it has just fetched.
        path.unlink()
        path = _fetch_file(repo, file, revision, replace(options, force_download=False))
    damage = _damage(path)
    if damage:
        raise WeightsError(
            f"{path}: {damage}: it was damaged on the way or on disk; load it once "
            "with force_download=True (lensequiv download --force), which fetches "
            "it again, or delete this file"
        )
    return path


def _fetch_file(
    repo: str, file: str, revision: str | None, options: HubOptions
) -> Path:
    with explained(repo, file, revision, options.cache_dir, options.local_files_only):
        from huggingface_hub import hf_hub_download

        from lensequiv._version import __version__

        return Path(
            hf_hub_download(
                repo,
                file,
                revision=revision,
                cache_dir=options.cache_dir,
                token=options.token,
                local_files_only=options.local_files_only,
                force_download=options.force_download,
                library_name="lensequiv",
                library_version=__version__,
            )
        )


def _fetch_card(repo: str, commit: str, options: HubOptions) -> Path | None:
    from huggingface_hub import errors

    try:
        return _fetch_whole(repo, CARD, commit, options)
    except HubError as error:
        first, *rest = causes(error)[1:]
        # Offline, a card that is not in the cache may not exist either.
        offline = isinstance(first, errors.LocalEntryNotFoundError) and any(
            isinstance(cause, errors.OfflineModeIsEnabled) for cause in rest
        )
        if offline or isinstance(first, errors.RemoteEntryNotFoundError):
            return None
        raise


def _damage(path: Path) -> str | None:
    """How a file in the cache differs from the checksum it is filed under, if so."""
    if not path.is_symlink():
        return None
    # One step only: the object may be a link into a store shared by several caches.
    expected = path.readlink().name
    content = path.read_bytes()
    if re.fullmatch("[0-9a-f]{64}", expected):
        found = hashlib.sha256(content).hexdigest()
    elif _COMMIT.fullmatch(expected):
        # Git's name of a file's content.
        header = b"blob %d\0" % len(content)
        found = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    else:
        return None
    if found == expected:
        return None
    return f"its checksum is {found}, the Hub announced {expected}"
