"""From images in any form to probabilities, in memory or in a file."""

from lensequiv.inference._predict import iter_predict, predict
from lensequiv.inference._prediction import ImagePrediction, Prediction
from lensequiv.inference._source import Images
from lensequiv.inference._to_file import check_output, predict_to_file

__all__ = [
    "ImagePrediction",
    "Images",
    "Prediction",
    "check_output",
    "iter_predict",
    "predict",
    "predict_to_file",
]
