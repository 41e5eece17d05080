"""Pictures (extra `plots`)."""

from lensequiv.plots._equivariance import plot_equivariance, plot_projection
from lensequiv.plots._images import plot_predictions, plot_samples
from lensequiv.plots._orbit import animate_orbit, plot_orbit

__all__ = [
    "animate_orbit",
    "plot_equivariance",
    "plot_orbit",
    "plot_predictions",
    "plot_projection",
    "plot_samples",
]
