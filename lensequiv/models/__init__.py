"""Models by name. Importing this loads neither e2cnn nor torchvision."""

from lensequiv.models.base import InputSizes, LensModel
from lensequiv.models.registry import create_model, list_models, register_model
from lensequiv.models.zoo import resnet18

__all__ = [
    "InputSizes",
    "LensModel",
    "create_model",
    "list_models",
    "register_model",
    "resnet18",
]
