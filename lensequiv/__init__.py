"""Equivariant networks for dark-matter substructure in gravitational lenses."""

from lensequiv import equivariance
from lensequiv.models import create_model, list_models, register_model
from lensequiv.prediction import Prediction, iter_predict, predict
from lensequiv.pretrained import (
    WeightsError,
    from_pretrained,
    list_pretrained,
    pretrained_info,
    save_pretrained,
)
from lensequiv.streaming import predict_to_file

__version__ = "0.1.0"

__all__ = [
    "Prediction",
    "WeightsError",
    "__version__",
    "create_model",
    "equivariance",
    "from_pretrained",
    "iter_predict",
    "list_models",
    "list_pretrained",
    "predict",
    "predict_to_file",
    "pretrained_info",
    "register_model",
    "save_pretrained",
]
