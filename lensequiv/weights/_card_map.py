"""What a model card says of the map of the substructure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensequiv.spec import Information, MapSpec
from lensequiv.weights._card_scores import one_line
from lensequiv.weights._card_training import head_training

__all__ = ["map_head"]

_MEANING = """\
`model.predict_map(images)` draws, on a grid of every {stride}th pixel, the convergence
of the substructure smoothed by a Gaussian of {smoothing:g} arcsec (its median and its
central 68 % interval), and the probability that a subhalo lies within {radius:g} arcsec
of each place: one at least as heavy as a point mass with an Einstein radius of
{einstein_radius:.3g} arcsec, which in the training recipe is {mass:.2g} solar masses
for a lens at redshift 0.5 and a source at 1. The map turns with the image.
"""
_LIMITS = """\
These probabilities hold for lenses drawn like the training ones: one isothermal halo
with shear, point-mass subhalos or a straight vortex. Extended subhalos are found far
less often, and what else the recipes lack (multipoles, other ellipticities, lens light,
clumpy sources) can look like substructure: `docs/maps.md` of lensequiv has numbers. A
place in a real lens is a place to look at, not a detection.
"""


def map_head(config: Mapping[str, Any], info: Information) -> list[str]:
    """The part of the card on the map; nothing for weights that draw none."""
    if "map" not in config:
        return []
    spec = MapSpec.from_config(config["map"])
    lines = ["## Map of the substructure", "", _MEANING.format(**spec.to_config())]
    run = info.map_training or {}
    if run:
        start = run.get("started_from")
        body = f" on the body of `{one_line(start)}`, which stayed" if start else ""
        lines += [f"Trained{body}: {head_training(run)}.", ""]
    scores = (info.metrics or {}).get("map", {})
    if {"within_interval", "below_interval", "above_interval"} <= scores.keys():
        lines += [
            f"On {scores.get('lenses', 'other')} further lenses of these recipes, "
            "where the map sees any substructure (84 % quantile of the convergence "
            "above 0.01): the truth lies within the 68 % interval in "
            f"{100 * scores['within_interval']:.1f} % of the cells, below it in "
            f"{100 * scores['below_interval']:.1f} %, above it in "
            f"{100 * scores['above_interval']:.1f} %.",
            "",
        ]
    if "presence_error" in scores:
        error = scores["presence_error"]
        lines += [f"Expected calibration error of the presence: {error:.4f}.", ""]
    for share, threshold in spec.thresholds.items():
        lines.append(
            f"- {100 * float(share):g} % of smooth lenses have a place with a presence "
            f"above {threshold:.3f}."
        )
    return [*lines, "", _LIMITS]
