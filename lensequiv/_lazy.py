"""Packages whose members are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str,
    members: Mapping[str, str],
    submodules: Iterable[str] = (),
    former: Callable[[str], Any] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes a package's `__getattr__` and `__dir__`.

    Type checkers do not follow them: the package repeats its imports under
    `if TYPE_CHECKING`.

    Args:
        package: Its `__name__`.
        members: Name -> module that defines it.
        submodules: Modules of the package that are attributes of it from the start.
        former: Finds members by names that they used to have, and raises the
            `AttributeError` for all others; see `lensequiv._moved.moved`.

    Returns:
        Both functions.
    """
    modules = frozenset(submodules)

    def get(name: str) -> Any:
        if name in members:
            value = getattr(importlib.import_module(members[name]), name)
        elif name in modules:
            value = importlib.import_module(f"{package}.{name}")
        elif former is not None:
            return former(name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)  # asked for only once
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *members, *modules})

    return get, names
