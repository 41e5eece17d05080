"""Pictures (extra `plots`)."""

from lensequiv.plots._images import plot_predictions, plot_samples

__all__ = ["plot_predictions", "plot_samples"]
