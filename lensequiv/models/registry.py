"""Names to models."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from inspect import Parameter
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from lensequiv._neutral import neutral
from lensequiv.models._unknown import unknown_model, unknown_option

if TYPE_CHECKING:
    from torch import Tensor

    from lensequiv._origin import Origin
    from lensequiv.models._recorded import Call
    from lensequiv.models.base import LensModel
    from lensequiv.spec import Spec

__all__ = ["create_model", "list_models", "register_model"]

Builder: TypeAlias = "Callable[..., LensModel]"
B = TypeVar("B", bound="Builder")

_BUILDERS: dict[str, Builder] = {}
_FAMILIES: dict[str, Builder] = {}


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
        if isinstance(builder, type):
            from lensequiv.models.base import LensModel

            if issubclass(builder, LensModel):
                builder.registered = builder.registered or name
        return builder

    return decorate


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that match a shell-style pattern, sorted.

    Args:
        pattern: For instance `"c8*"`.
    """
    return sorted(fnmatch.filter(_BUILDERS, pattern))


def register_family(prefix: str, builder: Callable[..., LensModel]) -> None:
    """Makes names known that begin with a prefix and go on with a group.

    Args:
        prefix: Such as `"singh2021-"`.
        builder: Takes the group and the options.
    """
    _FAMILIES[prefix] = builder


def _builder(name: str) -> Builder:
    if name in _BUILDERS:
        return _BUILDERS[name]
    for prefix, builder in _FAMILIES.items():
        if str(name).startswith(prefix):
            return partial(builder, name.removeprefix(prefix))
    raise unknown_model(name, list_models())


def create_model(name: str, **kwargs: Any) -> LensModel:
    """Builds an untrained model.

    Args:
        name: One of `list_models()`.
        **kwargs: `in_channels` (default 1), `num_classes`, `initialize` (default True;
            False leaves steerable weights zero, for loading), and the options of the
            architecture. Without `num_classes` there are the study's three classes,
            `no`, `sphere` and `vort`; with it, even if it is 3, they are called
            `class0`, `class1` and so on until `model.classes` is set.

    Returns:
        The model, in training mode, in torch's default type and on its default device.
        Its weights depend on torch's random state.

    Raises:
        ValueError: Unknown name; that of a weight is told from it.
        TypeError: Unknown option; words of other libraries are told from it.
    """
    import torch
    from torch.random import fork_rng

    dtype, device = torch.get_default_dtype(), torch.get_default_device()
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


@neutral()
def rebuild(
    recipe: str | type[LensModel],
    call: Call,
    spec: Spec,
    origin: Origin | None,
    tensors: dict[str, Tensor],
    marks: dict[str, Any],
    requires_grad: dict[str, bool],
    training: bool,
) -> LensModel:
    """Inverse of `LensModel.__reduce__`; also serves `copy.deepcopy`.

    Args:
        recipe: Name of a registered model, or a class that is not registered.
        call: Arguments of the class.
        spec: The record.
        origin: Of the weights.
        tensors: The state dict without the record.
        marks: Attributes.
        requires_grad: Of each parameter.
        training: The mode.

    Raises:
        TypeError: The tensors are not those of the network that `recipe` builds: its
            layers were replaced by hand.
    """
    from torch.random import fork_rng

    if isinstance(recipe, str):
        model = create_model(recipe, **spec.options, initialize=False)
    else:
        build: Builder = recipe
        lazy = {"initialize": False} if call.takes_initialize else {}
        with fork_rng(devices=[]):
            model = build(*call.args, **call.kwargs, **lazy)
    first = next(iter(tensors.values()))
    model.to(first.device)
    for key, value in model.tensors().items():
        if key in tensors and value.dtype != tensors[key].dtype:
            model.to(tensors[key].dtype)
            break
    try:
        model.load_tensors(tensors)
    except RuntimeError as error:
        raise TypeError(
            f"{spec.model} cannot be copied or pickled: its layers are no longer those "
            f"that it was built with ({error}); for another head use create_model or "
            "from_pretrained with num_classes or classes"
        ) from error
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(requires_grad[key])
    vars(model).update(marks, _spec=spec, _origin=origin)
    return model.train(training)
