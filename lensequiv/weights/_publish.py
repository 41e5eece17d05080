"""Every bundled weight as a repository of the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path

from lensequiv._suggestions import did_you_mean
from lensequiv._version import __version__
from lensequiv.files import write_atomically
from lensequiv.spec import read_information
from lensequiv.weights._card import model_card
from lensequiv.weights._card_front import dataset_id, scored
from lensequiv.weights._catalogue import Release, list_pretrained, releases
from lensequiv.weights._format import CARD, CONFIG, WEIGHTS, read_config
from lensequiv.weights._hub import is_repo_id
from lensequiv.weights._hub_errors import explained

__all__ = ["publish_all"]

_SCORES = ".eval_results/lensequiv.yaml"


def publish_all(
    directory: str | Path,
    organisation: str,
    pattern: str = "*",
    *,
    push: bool = False,
    token: str | None = None,
) -> list[Path]:
    """Prepares all bundled weights as repositories of the Hub, one folder a version.

    `DIRECTORY/c8-modelJ@2` gets weights, config, a card that names the repository, and
    the scores in the form that the Hub shows beside a model. The same call writes the
    same bytes again.

    With `push=True` the versions are then sent, oldest first, each as one commit with
    the tag `v1`, `v2` and so on. A tag that exists is left as it is.

    Args:
        directory: Made if needed; files of the same names are replaced.
        organisation: Owner of the repositories, a user or an organisation.
        pattern: Names of weights, shell-style.
        push: Send them to the Hub as well.
        token: One that may write there; by default the saved one.

    Returns:
        The folders, oldest version first for each weight.

    Raises:
        ValueError: No weight matches, or `organisation` is not a name.
        HubError: The Hub could not be reached or refused.
    """
    directory = Path(directory)
    if not is_repo_id(f"{organisation}/name"):
        raise ValueError(
            f"organisation={organisation!r}; expected the name of a user or an "
            "organisation of the Hugging Face Hub"
        )
    if not (names := list_pretrained(pattern)):
        known = list_pretrained()
        raise ValueError(
            f"no weight matches {pattern!r}; {did_you_mean(pattern, known)}there are "
            f"{', '.join(known)}"
        )
    folders = []
    for name in names:
        for release in releases(name):
            if release.folder is None:
                continue  # it is on the Hub already
            folder = directory / f"{name}@{release.version}"
            files = _files(release, organisation)
            for file, content in files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / file, content)
            if push:
                _push(f"{organisation}/{name}", release, files, token)
            folders.append(folder)
    return folders


def _files(release: Release, organisation: str) -> dict[str, bytes]:
    """What a repository holds for one version, by name."""
    config = read_config(release.directory)
    repo = f"{organisation}/{release.name}"
    card = model_card(config, repo, dataset_owner=organisation)
    files = {
        WEIGHTS: (release.directory / WEIGHTS).read_bytes(),
        CONFIG: (release.directory / CONFIG).read_bytes(),
        CARD: card.encode(),
    }
    info = read_information(config["info"])
    dataset, scores = dataset_id(organisation, info), scored(info)
    if dataset and scores:
        lines = [
            line
            for kind, text, value in scores
            for line in (
                "- dataset:",
                f"    id: {json.dumps(dataset)}",
                f"    task_id: {kind}",
                f"  value: {json.dumps(value)}",
                f"  date: {json.dumps(release.date)}",
                f"  notes: {json.dumps(text)}",
            )
        ]
        files[_SCORES] = ("\n".join(lines) + "\n").encode()
    return files


def _push(
    repo: str, release: Release, files: dict[str, bytes], token: str | None
) -> None:
    """One commit and its tag, unless the tag is there."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token, library_name="lensequiv", library_version=__version__)
    tag = f"v{release.version}"
    with explained(repo, revision=tag):
        api.create_repo(repo, exist_ok=True)
        if api.revision_exists(repo, tag):
            return
        done = api.create_commit(
            repo,
            [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
                for name, content in files.items()
            ],
            commit_message=f"Version {release.version}: {release.changes}",
        )
        api.create_tag(repo, tag=tag, revision=done.oid)
