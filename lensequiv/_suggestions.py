"""What a mistyped name may have meant."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import ParamSpec, TypeVar

__all__ = ["did_you_mean", "explains_keywords"]

P = ParamSpec("P")
R = TypeVar("R")


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


def explains_keywords(
    words: Mapping[str, str],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: keywords that a function does not take lead to those that it takes.

    Args:
        words: Of other libraries, each with what stands for it here.

    Returns:
        The decorator; the function then raises a TypeError that says so before anything
        is done.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        known = [
            name for name, p in parameters.items() if p.kind is not p.POSITIONAL_ONLY
        ]

        @functools.wraps(function)
        def explained(*args: P.args, **kwargs: P.kwargs) -> R:
            for word in kwargs:
                if word not in parameters:
                    hint = f"here it is {words[word]}" if word in words else ""
                    hint = hint or did_you_mean(word, known)
                    raise TypeError(
                        f"{function.__name__}(): unknown keyword {word!r}; {hint}"
                        + ("" if word in words else f"known are {', '.join(known)}")
                    )
            return function(*args, **kwargs)

        return explained

    return decorate
