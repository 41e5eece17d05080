"""The former place of predictions in memory: its names say where they are now."""

from lensequiv._moved import moved

__getattr__ = moved(
    __name__,
    {
        "Images": "lensequiv.inference.ImagesOrPaths",
        "Prediction": "lensequiv.inference.Prediction",
        "iter_predict": "lensequiv.inference.iter_predict",
        "predict": "lensequiv.inference.predict",
    },
)
