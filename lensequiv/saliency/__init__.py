"""Where the evidence lies, and whether it lies where it should (extra `saliency`)."""

from lensequiv.saliency._gradients import Attribution, integrated_gradients
from lensequiv.saliency._measures import (
    near_substructure,
    rank_correlation,
    share_within,
    smooth_maps,
)
from lensequiv.saliency._truth import (
    SubstructureSignal,
    fit_smooth,
    substructure_signal,
    turn_substructure,
)

__all__ = [
    "Attribution",
    "SubstructureSignal",
    "fit_smooth",
    "integrated_gradients",
    "near_substructure",
    "rank_correlation",
    "share_within",
    "smooth_maps",
    "substructure_signal",
    "turn_substructure",
]
