"""From images in any form to probabilities, in memory or in a file.

Most programs need `predict`, `iter_predict`, `predict_to_file` and `calibrate` alone.
The parts that these are made of are public, too, for programs that read or write in a
way of their own, as `examples/survey.py` does: a `Source` of images, `Options`, the
`Batch`es that `batches` makes of the two, and rows of them.
"""

from lensequiv._devices import device_name, resolve_device
from lensequiv._moved import moved
from lensequiv.inference._batch import Batch
from lensequiv.inference._batches import batches, network_inputs
from lensequiv.inference._calibrate import calibrate
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._image_prediction import ImagePrediction
from lensequiv.inference._map import Detection, SubstructureMap
from lensequiv.inference._map_files import check_map_output, write_maps
from lensequiv.inference._options import Options
from lensequiv.inference._predict import iter_predict, predict
from lensequiv.inference._prediction import Prediction
from lensequiv.inference._quantities import Measured, Quantities
from lensequiv.inference._resuming import record_request, request_of
from lensequiv.inference._rows import parquet_schema, rows_of
from lensequiv.inference._running import network_of
from lensequiv.inference._scale import PixelScales
from lensequiv.inference._source import (
    ImagesOrPaths,
    Loaded,
    Source,
    resolve_paths,
    source_of,
)
from lensequiv.inference._to_file import check_output, predict_to_file

__all__ = [
    "Batch",
    "Classifier",
    "Detection",
    "ImagePrediction",
    "ImagesOrPaths",
    "Loaded",
    "Measured",
    "Options",
    "PixelScales",
    "Prediction",
    "Quantities",
    "Source",
    "SubstructureMap",
    "batches",
    "calibrate",
    "check_map_output",
    "check_output",
    "device_name",
    "iter_predict",
    "network_inputs",
    "network_of",
    "parquet_schema",
    "predict",
    "predict_to_file",
    "record_request",
    "request_of",
    "resolve_device",
    "resolve_paths",
    "rows_of",
    "source_of",
    "write_maps",
]

__getattr__ = moved(__name__, {"Images": "lensequiv.inference.ImagesOrPaths"})
