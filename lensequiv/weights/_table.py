"""The table of weights and scores that README and docs show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensequiv.weights._card_training import all_runs, minutes

__all__ = ["AUC_OF_2021", "weights_table"]

# Test AUC (micro-average) of the 2021 study's networks on its own images, transcribed
# from its tables by others.
AUC_OF_2021 = {
    "modelF": {"c4": 0.9969, "c8": 0.9984, "d4": 0.9982, "d8": 0.9979},
    "modelJ": {"c4": 0.9929, "c8": 0.9950, "d4": 0.9947, "d8": 0.9961},
}


def weights_table(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table with the scores of weights, as README and docs show them.

    Args:
        configs: Content of `config.json` by the weight's name.
    """
    rows = [
        "| weight | test AUC (micro) | AUC in 2021 | AUC, rotated at random | accuracy "
        "| calibration error | images seen | core-minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, config in configs.items():
        info = config["info"]
        upright, rotated = info["metrics"]["test"], info["metrics"]["test_rotated"]
        recipe, _, _ = info["trained_on"]["recipe"].partition("@")
        study = AUC_OF_2021.get(recipe, {}).get(config["model"])
        runs = all_runs(info)
        seen = sum(run["images_seen"] for run in runs)
        rows.append(
            f"| `{name}` | {upright['auc_micro']:.4f} | "
            + (f"{study:.4f}" if study else "-")
            + f" | {rotated['auc_micro']:.4f} | {upright['accuracy']:.4f} "
            f"| {upright['calibration_error']:.4f} "
            f"| {seen / 1000:.0f} thousand | {minutes(runs)} |"
        )
    return "\n".join(rows)
