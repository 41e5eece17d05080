"""The former place of `lensequiv.inference`: predictions in memory."""

from lensequiv.inference import Images, Prediction, iter_predict, predict

__all__ = ["Images", "Prediction", "iter_predict", "predict"]
