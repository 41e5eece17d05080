"""The builders behind the registered names."""

from __future__ import annotations

from typing import Any

from lensequiv.models.base import LensModel
from lensequiv.models.registry import register_model

__all__: list[str] = []

# Fields of the three stages: about as many channels, hence as much work, in each group
# (order times fields); D8, with fewest fields, has a wider last stage, which is cheap.
_FIELDS = {"c4": (16, 24, 32), "c8": (8, 12, 16), "d4": (8, 12, 16), "d8": (4, 6, 12)}


def _register_group(group: str) -> None:
    fine, middle, coarse = _FIELDS[group]

    @register_model(group)
    def steerable(**kwargs: Any) -> LensModel:
        from lensequiv.models.steerable import SteerableCNN

        fields: dict[str, Any] = {
            "stem_fields": fine,
            "stages": ((fine,) * 3, (middle,) * 4, (coarse,) * 2),
        }
        return SteerableCNN(group, **(fields | kwargs))

    @register_model(f"singh2021-{group}")
    def singh2021(**kwargs: Any) -> LensModel:
        from lensequiv.models.singh2021 import Singh2021

        return Singh2021(group, **kwargs)


for _group in _FIELDS:
    _register_group(_group)


def _register_continuous(group: str, fields: tuple[int, int, int]) -> None:
    fine, middle, coarse = fields

    @register_model(group)
    def steerable(**kwargs: Any) -> LensModel:
        from lensequiv.models.steerable import SteerableCNN

        options: dict[str, Any] = {
            "stem_fields": fine,
            "stages": ((fine,) * 3, (middle,) * 4, (coarse,) * 2),
            "stem_stride": 2,
            "activation": "gelu",
            "isotropic": True,
        }
        return SteerableCNN(group, **(options | kwargs))


# Seven coefficients a field up to frequency 3 for SO(2), fourteen for O(2).
_register_continuous("so2", (8, 12, 16))
_register_continuous("o2", (4, 6, 12))


@register_model("resnet18")
def resnet18(**kwargs: Any) -> LensModel:
    """Torchvision's ResNet-18 for lensing images."""
    from lensequiv.models.resnet import ResNet18

    return ResNet18(**kwargs)
