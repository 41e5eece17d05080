"""The builders behind the registered names."""

from __future__ import annotations

from typing import Any

from lensequiv.models.base import LensModel
from lensequiv.models.registry import register_model

__all__: list[str] = []


def _register_group(group: str) -> None:
    @register_model(group)
    def steerable(**kwargs: Any) -> LensModel:
        from lensequiv.models.steerable import SteerableCNN

        return SteerableCNN(group, **kwargs)

    @register_model(f"singh2021-{group}")
    def singh2021(**kwargs: Any) -> LensModel:
        from lensequiv.models.singh2021 import Singh2021

        return Singh2021(group, **kwargs)


for _group in ("c4", "c8", "d4", "d8"):
    _register_group(_group)


@register_model("resnet18")
def resnet18(**kwargs: Any) -> LensModel:
    """Torchvision's ResNet-18 for lensing images."""
    from lensequiv.models.resnet import ResNet18

    return ResNet18(**kwargs)
