"""Models by name. Importing this loads neither torch, e2cnn nor torchvision."""

from typing import TYPE_CHECKING

from lensequiv._lazy import lazy
from lensequiv._moved import moved
from lensequiv.models.registry import create_model, list_models, register_model
from lensequiv.models.zoo import resnet18

__all__ = [
    "InputSizes",
    "LensNetwork",
    "create_model",
    "list_models",
    "register_model",
    "resnet18",
    "synchronise_batch_norm",
]

if TYPE_CHECKING:
    from lensequiv.models.base import InputSizes, LensNetwork
    from lensequiv.models.norms import synchronise_batch_norm
else:
    _BASE = "lensequiv.models.base"
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "InputSizes": _BASE,
            "LensNetwork": _BASE,
            "synchronise_batch_norm": "lensequiv.models.norms",
        },
        # Three calls up is who asked: `moved`, `lazy`, the caller.
        former=moved(
            __name__, {"LensModel": "lensequiv.models.LensNetwork"}, stacklevel=3
        ),
    )
