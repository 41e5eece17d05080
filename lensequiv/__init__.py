"""Equivariant networks for dark-matter substructure in gravitational lenses."""

from typing import TYPE_CHECKING

from lensequiv._lazy import lazy
from lensequiv._version import __version__

__all__ = [
    "HubError",
    "ImagePrediction",
    "Prediction",
    "SubstructureMap",
    "WeightsError",
    "__version__",
    "adapt",
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

# Nothing is imported before it is asked for: `lensequiv --help` needs no torch.
if TYPE_CHECKING:
    from lensequiv import adaptation as adaptation
    from lensequiv import app as app
    from lensequiv import data as data
    from lensequiv import domain as domain
    from lensequiv import equivariance as equivariance
    from lensequiv import evaluation as evaluation
    from lensequiv import files as files
    from lensequiv import inference as inference
    from lensequiv import models as models
    from lensequiv import plain as plain
    from lensequiv import plots as plots
    from lensequiv import prediction as prediction
    from lensequiv import pretrained as pretrained
    from lensequiv import reports as reports
    from lensequiv import saliency as saliency
    from lensequiv import simulation as simulation
    from lensequiv import spec as spec
    from lensequiv import streaming as streaming
    from lensequiv import transforms as transforms
    from lensequiv import trust as trust
    from lensequiv import weights as weights
    from lensequiv.adaptation import adapt
    from lensequiv.inference import (
        ImagePrediction,
        Prediction,
        SubstructureMap,
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
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "HubError": "lensequiv.pretrained",
            "ImagePrediction": "lensequiv.inference",
            "Prediction": "lensequiv.inference",
            "SubstructureMap": "lensequiv.inference",
            "WeightsError": "lensequiv.pretrained",
            "adapt": "lensequiv.adaptation",
            "convert_checkpoint": "lensequiv.pretrained",
            "create_model": "lensequiv.models",
            "from_pretrained": "lensequiv.pretrained",
            "iter_predict": "lensequiv.inference",
            "list_models": "lensequiv.models",
            "list_pretrained": "lensequiv.pretrained",
            "predict": "lensequiv.inference",
            "predict_to_file": "lensequiv.inference",
            "pretrained_info": "lensequiv.pretrained",
            "push_to_hub": "lensequiv.pretrained",
            "register_model": "lensequiv.models",
            "save_pretrained": "lensequiv.pretrained",
        },
        (
            *("adaptation", "app", "data", "domain", "equivariance", "evaluation"),
            *("files", "inference", "models", "plain", "spec"),
            *("plots", "prediction", "pretrained", "reports", "saliency", "simulation"),
            *("streaming", "transforms", "trust", "weights"),
        ),
    )
