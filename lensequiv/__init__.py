"""Equivariant networks for dark-matter substructure in gravitational lenses."""

from lensequiv import equivariance
from lensequiv.inference import (
    ImagePrediction,
    Prediction,
    iter_predict,
    predict,
    predict_to_file,
)
from lensequiv.models import create_model, list_models, register_model
from lensequiv.pretrained import (
    HubError,
    WeightsError,
    convert_checkpoint,
    from_pretrained,
    list_pretrained,
    pretrained_info,
    push_to_hub,
    save_pretrained,
)

__version__ = "0.1.0"

__all__ = [
    "HubError",
    "ImagePrediction",
    "Prediction",
    "WeightsError",
    "__version__",
    "convert_checkpoint",
    "create_model",
    "equivariance",
    "from_pretrained",
    "iter_predict",
    "list_models",
    "list_pretrained",
    "predict",
    "predict_to_file",
    "pretrained_info",
    "push_to_hub",
    "register_model",
    "save_pretrained",
]
