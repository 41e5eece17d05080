"""Names to models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from lensequiv.models._builders import add_builder, add_family, build, builder_names

if TYPE_CHECKING:
    from lensequiv.models.base import LensNetwork

__all__ = ["create_model", "list_models", "register_family", "register_model"]

Builder: TypeAlias = "Callable[..., LensNetwork]"
B = TypeVar("B", bound="Builder")


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
        add_builder(name, builder)
        if isinstance(builder, type):
            from lensequiv.models.base import LensNetwork

            if issubclass(builder, LensNetwork):
                builder.registered = builder.registered or name
        return builder

    return decorate


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that match a shell-style pattern, sorted.

    Args:
        pattern: For instance `"c8*"`.
    """
    return builder_names(pattern)


def register_family(prefix: str, builder: Builder) -> None:
    """Makes names known that begin with a prefix and go on with a group.

    Args:
        prefix: Such as `"singh2021-"`.
        builder: Takes the group and the options.
    """
    add_family(prefix, builder)


def create_model(name: str, **kwargs: Any) -> LensNetwork:
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
    return cast("LensNetwork", build(name, **kwargs))
