"""Pictures (extra `plots`)."""

from lensequiv.plots._images import plot_predictions, plot_samples
from lensequiv.plots._saliency import plot_saliency

__all__ = ["plot_predictions", "plot_saliency", "plot_samples"]
