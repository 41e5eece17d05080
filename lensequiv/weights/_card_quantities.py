"""What a model card says of the quantities that a network tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensequiv.spec import Information, QuantitiesSpec
from lensequiv.weights._card_scores import one_line
from lensequiv.weights._card_training import head_training

__all__ = ["quantity_head"]

_MEANING = """\
`model.predict(images, quantities=True)` tells, for each lens, the median and the
central 68 % and 95 % intervals of these quantities; no turn of the image changes them.
They are posteriors for lenses drawn like the training ones: for other lenses, real ones
included, they say what such a lens would have, and no interval covers what the recipe
lacks.
"""


def quantity_head(config: Mapping[str, Any], info: Information) -> list[str]:
    """The part of the card on quantities; nothing for weights that tell none."""
    if "quantities" not in config:
        return []
    spec = QuantitiesSpec.from_config(config["quantities"])
    lines = ["## Quantities", "", _MEANING, *_run(info), *_table(spec, info)]
    scores = (info.metrics or {}).get("quantities", {})
    if "joint_deviation" in scores:
        lines += [
            "Coverage of all of them together (TARP) differs from the credibility by "
            f"at most {scores['joint_deviation']:.3f} on "
            f"{scores['joint_lenses']:,} lenses.",
            "",
        ]
    return lines


def _run(info: Information) -> list[str]:
    """How the head was trained."""
    run = info.quantities_training
    if not run:
        return []
    return [f"Trained {head_training(run)}.", ""]


def _table(spec: QuantitiesSpec, info: Information) -> list[str]:
    """Quantities, for which classes they are meant, and how well they are told."""
    scores = (info.metrics or {}).get("quantities", {}).get("scores", [])
    found = {score["name"]: score for score in scores}
    lines = [
        "| quantity | of classes | mean absolute error | telling the mean | in 68 % "
        "interval | in 95 % | test lenses |",
        "|---|---|---|---|---|---|---|",
    ]
    for quantity in spec.quantities:
        cells = [f"`{quantity.name}`", ", ".join(map(one_line, quantity.classes))]
        score = found.get(quantity.name)
        if score is None:
            cells += [""] * 5
        else:
            cells += [f"{score[key]:.3g}" for key in ("error", "error_of_mean")]
            cells += [
                f"{100 * score[key]:.1f} %" for key in ("coverage_68", "coverage_95")
            ]
            cells.append(f"{score['lenses']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
