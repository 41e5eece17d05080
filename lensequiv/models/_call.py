"""How the class of a network was called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Call"]


@dataclass(frozen=True)
class Call:
    """How a class was called, every parameter with its value, `initialize` apart."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    takes_initialize: bool = False

    @classmethod
    def of(cls, kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        try:
            bound = inspect.signature(kind.__init__).bind(None, *args, **kwargs)  # type: ignore[misc]
        except TypeError:  # `__init__` itself will say what is wrong
            return cls()
        given = frozenset(bound.arguments)
        bound.apply_defaults()
        own, *_ = bound.arguments
        arguments = {k: v for k, v in bound.arguments.items() if k != own}
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                more = arguments.pop(name)
                arguments |= more
                given |= set(more)
        takes = arguments.pop("initialize", None) is not None
        return cls(
            args=bound.args[1:],
            kwargs={k: v for k, v in bound.kwargs.items() if k != "initialize"},
            arguments=arguments,
            given=given,
            takes_initialize=takes,
        )
