"""Names that have another place now: they still work there, and say where they went."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["moved"]


def moved(
    module: str, places: Mapping[str, str], stacklevel: int = 2
) -> Callable[[str], Any]:
    """Makes a module's `__getattr__` for the names that it used to have (PEP 562).

    Nothing is imported before a former name is asked for, so that a module can name
    a place on a floor above it without depending on it.

    Args:
        module: Its `__name__`.
        places: Former name -> the new one in full, such as
            `"lensequiv.reports.write_report"`.
        stacklevel: Of the warning: 2 if the function is itself the `__getattr__`.

    Returns:
        The function; it warns with a `DeprecationWarning` that names the new place.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, attribute = places[name].rpartition(".")
        warnings.warn(
            f"{module}.{name} is {places[name]} now",
            DeprecationWarning,
            stacklevel=stacklevel,
        )
        return getattr(importlib.import_module(place), attribute)

    return get
