"""Publish a model on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensequiv._neutral import neutral
from lensequiv._version import __version__
from lensequiv.spec import Network
from lensequiv.weights._card import model_card
from lensequiv.weights._format import CARD, CONFIG, WEIGHTS
from lensequiv.weights._hub import is_repo_id
from lensequiv.weights._hub_errors import explained
from lensequiv.weights._reading import read_folder
from lensequiv.weights._saving import save_pretrained
from lensequiv.weights._tensors import check_tensors

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

__all__ = ["push_to_hub"]


def push_to_hub(
    model: Network,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    info: Mapping[str, Any] | None = None,
) -> CommitInfo:
    """Publishes a model on the Hugging Face Hub: weights, config, card in one commit.

    The files are those of `save_pretrained`, and they are read back before anything
    is sent, so that what is published can be loaded. They replace files of the same
    names; other files of the repository stay.

    Args:
        model: Any lensequiv model.
        repo_id: `owner/name`; made if it does not exist.
        token: One that may write there; by default the saved one.
        private: Whether to make the repository private, if it is made; None leaves it
            to the owner's settings.
        commit_message: By default, what and with which version.
        revision: A branch, made from the default one if it does not exist.
        create_pr: Open a pull request to the default branch instead. The repository
            has to exist.
        info: As for `save_pretrained`.

    Returns:
        The client's record of the commit: `oid` is what `from_pretrained(revision=)`
        takes to load exactly these weights, `commit_url` and `pr_url` show it.

    Raises:
        ValueError: `repo_id` is not of the form `owner/name`, or `revision` is given
            with `create_pr`, or the model could not be loaded again; it has NaN, for
            instance.
        HubError: The Hub could not be reached or refused; the message says why.
    """
    if not is_repo_id(repo_id):
        raise ValueError(f"repo_id={repo_id!r}: expected owner/name")
    if create_pr and revision is not None:
        raise ValueError(
            f"revision={revision!r} and create_pr=True: a pull request goes to the "
            "default branch"
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_pretrained(model, temporary, info=info)
        config = _read_back(folder, model)
        card = model_card(config, repo_id)
        (folder / CARD).write_text(card, encoding="utf-8")
        message = commit_message or f"{model.name}, with lensequiv {__version__}"
        with explained(repo_id, revision=revision):
            return _commit(
                folder, repo_id, token, private, message, revision, create_pr
            )


@neutral()
def _read_back(folder: Path, model: Network) -> dict[str, Any]:
    """The config of what was saved, after everything was read and compared."""
    stored = read_folder(folder)
    check_tensors(stored.tensors, model.tensors(), folder / WEIGHTS)
    return stored.config


def _commit(
    folder: Path,
    repo_id: str,
    token: str | None,
    private: bool | None,
    message: str,
    revision: str | None,
    create_pr: bool,
) -> CommitInfo:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token, library_name="lensequiv", library_version=__version__)
    if not create_pr:
        visibility: Any = {} if private is None else {"private": private}
        api.create_repo(repo_id, exist_ok=True, **visibility)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
    # Not upload_folder: with hf_xet it may spread the files over several commits.
    return api.create_commit(
        repo_id,
        [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name)
            for name in (WEIGHTS, CONFIG, CARD)
        ],
        commit_message=message,
        revision=revision,
        create_pr=create_pr,
    )
