"""Weights that are named without an owner, and are not in the package.

Who publishes them is a setting: the environment variable `LENSEQUIV_HUB` holds the name
of a user or an organisation of the Hugging Face Hub. Without it, nothing is looked for.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from lensequiv.spec import Origin
from lensequiv.weights._hub import HubOptions, fetch
from lensequiv.weights._hub_errors import HubError

__all__ = ["VARIABLE", "fetch_published", "is_published_name", "organisation"]

VARIABLE = "LENSEQUIV_HUB"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_PART}(@[1-9][0-9]*)?")


def organisation() -> str | None:
    """The owner on the Hub of weights that are named without one; None if not set.

    Raises:
        ValueError: The variable holds something else than a name.
    """
    owner = os.environ.get(VARIABLE, "")
    if not owner:
        return None
    if not re.fullmatch(_PART, owner):
        raise ValueError(
            f"the environment variable {VARIABLE} is {owner!r}; expected the name of a "
            "user or an organisation of the Hugging Face Hub"
        )
    return owner


def is_published_name(name: str) -> bool:
    """Whether a string has the shape `c8-modelJ` or `c8-modelJ@2`."""
    return len(name) <= 96 and _NAME.fullmatch(name) is not None


def fetch_published(
    owner: str, name: str, hub: HubOptions, *, sha256: str = "", card: bool = False
) -> tuple[Path, Origin]:
    """Fetches a version of a weight from its publisher's repository.

    Version 2 is the tag `v2`. It never changes, so a copy in the cache is taken without
    a request. A name without a version is the default branch, which has the newest.

    Args:
        owner: Of the repository, which is called as the weight is.
        name: With or without `@` and a version.
        hub: Keywords for the Hub.
        sha256: Of the weights, if it is known; else empty.
        card: Fetch the card, too.

    Returns:
        The folder in the cache, and the origin.

    Raises:
        ValueError: `revision=` and a version are both given.
        HubError: As `fetch`.
        WeightsError: As `fetch`.
    """
    base, _, version = name.partition("@")
    repo = f"{owner}/{base}"
    if version:
        if hub.revision is not None:
            raise ValueError(f"{name!r} has a version: revision= has nothing to add")
        hub = replace(hub, revision=f"v{version}")
    directory = _fetch_once(repo, hub, card) if version else fetch(repo, hub, card=card)
    return directory, Origin("hub", repo, sha256, hub.revision, directory.name)


def _fetch_once(repo: str, hub: HubOptions, card: bool) -> Path:
    if not hub.force_download and not hub.local_files_only:
        try:
            return fetch(repo, replace(hub, local_files_only=True), card=card)
        except HubError:
            pass  # not in the cache
    return fetch(repo, hub, card=card)
