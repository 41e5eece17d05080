"""How a command ends that is not let finish."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

__all__ = ["interrupted", "reader_left"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_PIPE_BROKEN = 141  # 128 + SIGPIPE, likewise


def interrupted(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Says, after Ctrl-C, how to go on.

    Args:
        args: Parsed. A subcommand that can be resumed sets `resumes`, which tells
            whether it can with these.
        argv: As given.

    Returns:
        The exit status.
    """
    resumes = getattr(args, "resumes", None)
    advice = ""
    if resumes is not None and resumes(args):
        again = [word for word in argv if not _is_restart(word)]
        advice = f"; to go on where it ended: {shlex.join(['lensequiv', *again])}"
    print(f"lensequiv {args.command}: interrupted{advice}", file=sys.stderr)
    return _INTERRUPTED


def _is_restart(word: str) -> bool:
    """Whether it is `--restart`, which argparse takes shortened, too."""
    return word.startswith("--rest") and "--restart".startswith(word)


def reader_left() -> int:
    """Ends quietly when what the output goes to, such as `head`, has read enough.

    Returns:
        The exit status.
    """
    # What is still buffered would raise again when Python ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return _PIPE_BROKEN
