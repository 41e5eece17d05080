"""Names to models."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from lensequiv.models._unknown import unknown_model, unknown_option

if TYPE_CHECKING:
    from torch import Tensor

    from lensequiv.models.base import LensModel

__all__ = ["create_model", "list_models", "register_model"]

Builder: TypeAlias = "Callable[..., LensModel]"
B = TypeVar("B", bound="Builder")

_BUILDERS: dict[str, Builder] = {}


def register_model(name: str) -> Callable[[B], B]:
    """Decorator that makes a builder known to `create_model`.

    Builders import their architecture inside, so that names can be listed without
    loading e2cnn or torchvision.

    Args:
        name: Unique name.

    Returns:
        The decorator.

    Raises:
        ValueError: The name is taken.
    """

    def decorate(builder: B) -> B:
        if name in _BUILDERS:
            raise ValueError(f"a model named {name!r} is already registered")
        _BUILDERS[name] = builder
        return builder

    return decorate


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that match a shell-style pattern, sorted.

    Args:
        pattern: For instance `"c8*"`.
    """
    return sorted(fnmatch.filter(_BUILDERS, pattern))


def create_model(name: str, **kwargs: Any) -> LensModel:
    """Builds an untrained model.

    Args:
        name: One of `list_models()`.
        **kwargs: `in_channels` (default 1), `num_classes` (default 3), `initialize`
            (default True; False leaves steerable weights zero, for loading), and the
            options of the architecture.

    Returns:
        The model, in training mode, in torch's default type and on its default device.
        Its weights depend on torch's random state.

    Raises:
        ValueError: Unknown name; that of a weight is told from it.
        TypeError: Unknown option; words of other libraries are told from it.
    """
    import torch
    from torch.random import fork_rng

    from lensequiv._neutral import neutral

    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    if name not in _BUILDERS:
        raise unknown_model(name, list_models())
    # Weights that will be replaced must not change what is drawn at random later.
    keep = nullcontext() if kwargs.get("initialize", True) else fork_rng(devices=[])
    with neutral(), keep:
        try:
            model = _BUILDERS[name](**kwargs)
        except TypeError as error:
            if (better := unknown_option(name, kwargs, error)) is None:
                raise
            raise better from error
        if torch.get_default_dtype() != dtype or device.type != "cpu":
            model.to(device, dtype)
    kwargs.pop("initialize", None)
    model.name, model.config = name, kwargs
    return model


def rebuild(
    name: str,
    config: dict[str, Any],
    state: dict[str, Tensor],
    extra: dict[str, Any],
    requires_grad: dict[str, bool],
    training: bool,
) -> LensModel:
    """Inverse of `LensModel.__reduce__`; also serves `copy.deepcopy`."""
    from lensequiv._neutral import neutral

    with neutral():
        model = create_model(name, **config, initialize=False)
        first = next(iter(state.values()))
        model.to(first.device)
        for key, value in model.state_dict().items():
            if value.dtype != state[key].dtype:
                model.to(state[key].dtype)
                break
        model.load_state_dict(state)
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(requires_grad[key])
        vars(model).update(extra)
        return model.train(training)
