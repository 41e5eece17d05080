"""The builders of networks by name, and what they build."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from inspect import Parameter
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from lensequiv._neutral import neutral
from lensequiv.models._unknown import unknown_model, unknown_option

if TYPE_CHECKING:
    from lensequiv.models._call import Call
    from lensequiv.models._recorded import Recorded

__all__ = ["Builder", "add_builder", "add_family", "build", "builder_names"]

Builder: TypeAlias = "Callable[..., Recorded]"

_BUILDERS: dict[str, Builder] = {}
_FAMILIES: dict[str, Builder] = {}


def add_builder(name: str, builder: Builder) -> None:
    """Makes a builder known.

    Raises:
        ValueError: The name is taken.
    """
    if name in _BUILDERS:
        raise ValueError(f"a model named {name!r} is already registered")
    _BUILDERS[name] = builder


def add_family(prefix: str, builder: Builder) -> None:
    """Makes names known that begin with a prefix and go on with a group.

    Args:
        prefix: Such as `"singh2021-"`.
        builder: Takes the group and the options.
    """
    _FAMILIES[prefix] = builder


def builder_names(pattern: str = "*") -> list[str]:
    """Names of all builders that match a shell-style pattern, sorted."""
    return sorted(fnmatch.filter(_BUILDERS, pattern))


def _builder(name: str) -> Builder:
    if name in _BUILDERS:
        return _BUILDERS[name]
    for prefix, builder in _FAMILIES.items():
        if str(name).startswith(prefix):
            return partial(builder, name.removeprefix(prefix))
    raise unknown_model(name, builder_names())


def build(name: str, **kwargs: Any) -> Recorded:
    """Builds an untrained network; see `lensequiv.create_model`."""
    import torch
    from torch.random import fork_rng

    # Not `get_default_device`, which forgets `with torch.device(...)` in torch 2.4.
    dtype, device = torch.get_default_dtype(), torch.empty(0).device
    builder = _builder(name)
    # Weights that will be replaced must not change what is drawn at random later.
    keep = nullcontext() if kwargs.get("initialize", True) else fork_rng(devices=[])
    with neutral(), keep:
        try:
            model = builder(**kwargs)
        except TypeError as error:
            if (better := unknown_option(name, kwargs, error)) is None:
                raise
            raise better from error
        if torch.get_default_dtype() != dtype or device.type != "cpu":
            model.to(device, dtype)
    model.identify(name, options_of(builder, kwargs, model.call))
    return model


def options_of(
    builder: Builder, given: Mapping[str, Any], call: Call
) -> dict[str, Any]:
    """Every keyword that a builder takes, with the value it had in a call.

    What the builder names, or passes on because it was given, or what the network's
    class takes and nobody gave; but not what the builder decides by itself, as the
    group of `c8`.

    Args:
        builder: Of a network.
        given: Keywords it was called with.
        call: How it called the network's class.
    """
    bound = inspect.signature(builder).bind(**given)
    bound.apply_defaults()
    kinds = {p.name: p.kind for p in bound.signature.parameters.values()}
    rest = [name for name, kind in kinds.items() if kind == Parameter.VAR_KEYWORD]
    named = {k: v for k, v in bound.arguments.items() if k not in rest}
    options = {**named, **given}
    for name, value in call.arguments.items():
        if name not in call.given and (rest or name in named):
            options.setdefault(name, value)
    options.pop("initialize", None)
    options = {
        # Those of NumPy as Python's own: options are compared, shown and stored.
        name: _plain(value)
        for name, value in options.items()
    }
    order = [*call.arguments, *options]
    return dict(sorted(options.items(), key=lambda item: order.index(item[0])))


def _plain(value: Any) -> Any:
    """A number of NumPy as Python's own, anything else as it is."""
    return value.item() if isinstance(value, Real) and hasattr(value, "item") else value
