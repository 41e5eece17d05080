"""What a mistyped name may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question for messages: "did you mean 'c8' or 'd8'? ", or nothing.

    Case and punctuation do not count: `model-J` is as near to `modelJ` as can be. Where
    no name is near, those that begin with what was given are.

    Args:
        name: What was given.
        known: Names that exist.

    Returns:
        With at most two names, and a space at the end; empty if none is near.
    """
    plain: dict[str, str] = {}
    for candidate in known:
        plain.setdefault(_letters(candidate), candidate)
    given = _letters(name)
    near = difflib.get_close_matches(given, plain, n=2, cutoff=0.6)
    if given in near:
        near = [given]
    if not near and given:
        near = [candidate for candidate in plain if candidate.startswith(given)][:2]
    quoted = " or ".join(repr(plain[match]) for match in near)
    return f"did you mean {quoted}? " if quoted else ""


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
