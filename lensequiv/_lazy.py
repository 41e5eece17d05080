"""Packages whose members are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lensequiv._moved import moved

__all__ = ["lazy"]


def lazy(
    package: str,
    members: Mapping[str, str],
    submodules: Iterable[str] = (),
    former: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes a package's `__getattr__` and `__dir__`.

    Type checkers do not follow them: the package repeats its imports under
    `if TYPE_CHECKING`.

    Args:
        package: Its `__name__`.
        members: Name -> module that defines it.
        submodules: Modules of the package that are attributes of it from the start.
        former: Name that a member used to have -> its new one in full; see `moved`.

    Returns:
        Both functions.
    """
    modules = frozenset(submodules)
    places = {} if former is None else former
    get_former = moved(package, places, stacklevel=3)  # moved, lazy, the caller

    def get(name: str) -> Any:
        if name in places:
            return get_former(name)
        if name in members:
            value = getattr(importlib.import_module(members[name]), name)
        elif name in modules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)  # asked for only once
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *members, *modules})

    return get, names
