"""Pictures (extra `plots`)."""

from lensequiv.plots._evaluation import plot_confusion, plot_reliability, plot_roc
from lensequiv.plots._images import plot_predictions, plot_samples
from lensequiv.plots._training import plot_training

__all__ = [
    "plot_confusion",
    "plot_predictions",
    "plot_reliability",
    "plot_roc",
    "plot_samples",
    "plot_training",
]
