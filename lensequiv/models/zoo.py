"""The builders behind the registered names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lensequiv.models.registry import register_family, register_model

if TYPE_CHECKING:
    from lensequiv.models.base import LensNetwork

__all__: list[str] = []

# Fields of the three stages: about as many channels, hence as much work, in each group
# (order times fields); D8, with fewest fields, has a wider last stage, which is cheap.
_FIELDS = {"c4": (16, 24, 32), "c8": (8, 12, 16), "d4": (8, 12, 16), "d8": (4, 6, 12)}


def _register_group(group: str) -> None:
    fine, middle, coarse = _FIELDS[group]

    # Named here, so that a record holds them: see `registry.options_of`.
    @register_model(group)
    def preset(
        *,
        stem_fields: int = fine,
        stages: Sequence[Sequence[int]] = ((fine,) * 3, (middle,) * 4, (coarse,) * 2),
        **options: Any,
    ) -> LensNetwork:
        return steerable(group, stem_fields=stem_fields, stages=stages, **options)


@register_model("steerable")
def steerable(group: str, **options: Any) -> LensNetwork:
    """The zoo's network for any group: `group="c16"`, `"d3"`."""
    from lensequiv.models.steerable import SteerableCNN

    return SteerableCNN(group, **options)


def singh2021(group: str, /, **options: Any) -> LensNetwork:
    """The network of 2021 for any group."""
    from lensequiv.models.singh2021 import Singh2021

    return Singh2021(group, **options)


register_family("singh2021-", singh2021)
for _group in _FIELDS:
    _register_group(_group)
for _group in ("c4", "c8", "d4", "d8"):  # those of the study
    register_model(f"singh2021-{_group}")(partial(singh2021, _group))


def _register_continuous(group: str, fields: tuple[int, int, int]) -> None:
    fine, middle, coarse = fields

    @register_model(group)
    def preset(
        *,
        stem_fields: int = fine,
        stages: Sequence[Sequence[int]] = ((fine,) * 3, (middle,) * 4, (coarse,) * 2),
        stem_stride: int = 2,
        activation: str = "gelu",
        isotropic: bool = True,
        **options: Any,
    ) -> LensNetwork:
        named = {
            "stem_fields": stem_fields,
            "stages": stages,
            "stem_stride": stem_stride,
            "activation": activation,
            "isotropic": isotropic,
        }
        return steerable(group, **named, **options)


# Seven coefficients a field up to frequency 3 for SO(2), fourteen for O(2).
_register_continuous("so2", (8, 12, 16))
_register_continuous("o2", (4, 6, 12))


@register_model("resnet18")
def resnet18(**kwargs: Any) -> LensNetwork:
    """Torchvision's ResNet-18 for lensing images."""
    from lensequiv.models.resnet import ResNet18

    return ResNet18(**kwargs)
