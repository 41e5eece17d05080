"""Layers that were put into a finished network by hand.

`model.head = nn.Linear(32, 5)` is common, and `model(x)` follows it. What is made of
the record alone does not: plain form, copies, saved weights. They ask here first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["noting_layers", "replaced_layer"]

_LATER = "quantity_head"  # comes and goes with the record, which names it


def noting_layers(init: Callable[..., None]) -> Callable[..., None]:
    """A class's `__init__` that notes at its end which layers the network has."""

    @wraps(init)
    def noted(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        vars(self)["_built_with"] = {
            name: type(module) for name, module in self.named_modules()
        }

    return noted


def replaced_layer(model: nn.Module) -> str | None:
    """What differs from the layers that a network was built with, in words.

    Parametrised layers are still themselves, and so are synchronised batch norms.

    Args:
        model: Whose classes were all made with `noting_layers`.

    Returns:
        The first difference; None if there is none.
    """
    built: dict[str, type] = vars(model)["_built_with"]
    found = dict(model.named_modules())
    for name, kind in built.items():
        module = found.get(name)
        norms = issubclass(kind, _BatchNorm) and isinstance(module, _BatchNorm)
        if not (isinstance(module, kind) or norms):
            now = "gone" if module is None else f"a {type(module).__name__}"
            return f"{name} is {now}, no longer a {kind.__name__}"
    for name in found.keys() - built.keys():
        parts = name.split(".")
        if parts[0] != _LATER and "parametrizations" not in parts:
            return f"{name} was added"
    return None
