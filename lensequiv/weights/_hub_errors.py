"""What goes wrong with the Hub, said so that a user knows what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lensequiv.weights._format import CONFIG, WEIGHTS

__all__ = ["HubError", "causes", "explained"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
}


class HubError(OSError):
    """Weights could not be fetched from or pushed to the Hugging Face Hub.

    The message says why and what to do; `__cause__` is the client's own error.
    """


@contextmanager
def explained(
    repo: str,
    file: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Iterator[None]:
    """Turns every error of the Hub's client into a `HubError`.

    Args:
        repo: `owner/name`.
        file: What is fetched; None for a push.
        revision: As asked for.
        cache_dir: As asked for.
        local_files_only: As asked for.

    Raises:
        ImportError: huggingface_hub cannot be imported.
        HubError: Anything that went wrong within.
    """
    try:
        yield
    except ImportError:
        raise
    # The client's errors have no base class in common.
    except Exception as error:
        chain = causes(error)
        reason = _refusal(chain, repo, file, revision)
        if reason is None:
            reason = _trouble(chain, cache_dir, local_files_only, file is not None)
            if file is not None and not Path(repo).exists():  # a folder was meant?
                reason += f"; there is no folder {repo!r} here"
        if file is None:
            what = f"{repo}: not pushed"
        else:
            at = f" at revision {revision!r}" if revision else ""
            what = f"{repo}{at}: no {file}"
        raise HubError(f"{what}: {reason}") from error


def causes(error: BaseException) -> list[BaseException]:
    """The error and those it was raised from; a bare `raise` within counts, too."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and len(chain) < 10:
        chain.append(cause)
    return chain


def _refusal(
    chain: list[BaseException], repo: str, file: str | None, revision: str | None
) -> str | None:
    """What the Hub said, where it answered with a refusal."""
    from huggingface_hub import errors

    token = "token=, HF_TOKEN, or 'hf auth login'"
    status = _status(chain)
    for error in chain:
        if isinstance(error, errors.GatedRepoError):
            return (
                "access to it is granted by its owner: ask on its page, then give "
                f"your {token}"
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            here = "" if file is None else f" (nor is there a folder {repo!r} here)"
            return (
                f"the Hub has no such repository, or hides it{here}: check the name; "
                f"for a private one give a {token}"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return (
                f"there is no revision {revision or 'main'!r}; expected one of its "
                "branches, tags or full commit hashes"
            )
        if isinstance(error, errors.RemoteEntryNotFoundError):
            return (
                "the repository has no such file, so it holds no weights of "
                f"lensequiv ({CONFIG} and {WEIGHTS}, as push_to_hub writes them)"
            )
        if isinstance(error, errors.HFValidationError):
            return _first_line(error)
    if status in (401, 403):
        return (
            f"the Hub refuses access (status {status}): check that the token is valid "
            f"and may {'write there' if file is None else 'read it'} ({token})"
        )
    if status == 429:
        return "the Hub got too many requests from here (status 429): try again later"
    if status is not None and status >= 500:
        return f"the Hub is in trouble (status {status}): try again later" + (
            "" if file is None else "; a cached copy is loaded if there is one"
        )
    if status is not None:
        hint = "" if file is None else " (try force_download=True)"
        return f"the Hub answered with status {status}: {_first_line(chain[0])}{hint}"
    return None


def _trouble(
    chain: list[BaseException],
    cache_dir: str | Path | None,
    local_files_only: bool,
    fetching: bool,
) -> str:
    """What happened, where the Hub did not refuse: network, disk, a broken answer."""
    from huggingface_hub import constants, errors

    def met(kind: type[BaseException]) -> bool:
        return any(isinstance(error, kind) for error in chain)

    # The client's own errors have classes; those of the HTTP library under it, which
    # changed from release 1 to 2, are told by their names.
    kinds = {kind.__name__ for error in chain for kind in type(error).__mro__}
    numbers = {e.errno for e in chain if isinstance(e, OSError) and e.errno}
    cache = cache_dir or constants.HF_HUB_CACHE
    if local_files_only or met(errors.OfflineModeIsEnabled):
        off = "local_files_only=True" if local_files_only else "HF_HUB_OFFLINE"
        if not fetching:
            return f"{off} forbids the network"
        if not local_files_only and not met(errors.LocalEntryNotFoundError):
            return "HF_HUB_OFFLINE and force_download=True exclude each other"
        return (
            f"it is not in the cache {cache}, and {off} forbids to fetch it: load it "
            "once where there is a network, with the same cache, or bring it over as "
            "a folder ('lensequiv download'); see docs/offline.md"
        )
    if numbers & _FULL:
        return (
            f"no space left to write {cache}: make room, or choose another place with "
            "cache_dir= or HF_HOME"
        )
    if numbers & _UNWRITABLE:
        return (
            f"the cache {cache} cannot be written ({_first_line(chain[0])}): choose "
            "another place with cache_dir= or HF_HOME"
        )
    reach = f"{constants.ENDPOINT} (HF_ENDPOINT)"
    offline = (
        "; without a network, see docs/offline.md ('lensequiv download', "
        "HF_HUB_OFFLINE=1)"
    )
    if any("Timeout" in kind for kind in kinds):
        return (
            f"{reach} did not answer in time: try again, with a higher "
            f"HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT on a slow line{offline}"
        )
    if "TooManyRedirects" in kinds:
        return f"{reach} redirects in a circle: check HF_ENDPOINT and the proxy"
    if met(errors.FileMetadataError):
        return (
            f"what {reach} answered is not the Hub's: check HF_ENDPOINT, the proxy, "
            "and whether the network wants a login in a browser"
        )
    if met(ConnectionError) or kinds & {"NetworkError", "ProxyError"}:
        return f"{reach} cannot be reached: check the network and the proxy{offline}"
    if "RemoteProtocolError" in kinds:
        return f"{reach} broke off in the middle of its answer: try again"
    if "Consistency check failed" in str(chain[0]):
        return (
            "what arrived is not as long as the Hub announced, and was thrown away: "
            "try again"
        )
    return f"{type(chain[0]).__name__}: {_first_line(chain[0])}"


def _status(chain: list[BaseException]) -> int | None:
    """The HTTP status behind an error, if there is one."""
    for error in chain:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")
