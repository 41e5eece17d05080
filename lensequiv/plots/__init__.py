"""Pictures (extra `plots`)."""

from lensequiv.plots._equivariance import plot_equivariance, plot_projection
from lensequiv.plots._evaluation import plot_confusion, plot_reliability, plot_roc
from lensequiv.plots._images import plot_predictions, plot_samples
from lensequiv.plots._map import plot_maps
from lensequiv.plots._orbit import animate_orbit, plot_orbit
from lensequiv.plots._perturbed import plot_perturbations
from lensequiv.plots._saliency import plot_saliency
from lensequiv.plots._sheet import plot_sheet
from lensequiv.plots._style import check_picture, for_paper
from lensequiv.plots._training import plot_training

__all__ = [
    "animate_orbit",
    "check_picture",
    "for_paper",
    "plot_confusion",
    "plot_equivariance",
    "plot_maps",
    "plot_orbit",
    "plot_perturbations",
    "plot_predictions",
    "plot_projection",
    "plot_reliability",
    "plot_roc",
    "plot_saliency",
    "plot_samples",
    "plot_sheet",
    "plot_training",
]
