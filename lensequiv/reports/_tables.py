"""An evaluation in words and rows, whatever form they are printed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensequiv._tables import in_columns
from lensequiv.evaluation import ModelEvaluation
from lensequiv.evaluation._score import LEVEL, Evaluation

__all__ = ["facts", "metric_rows", "parts", "table", "title"]

_NAMES = {
    "auc_micro": "ROC AUC, micro-average",
    "auc_macro": "ROC AUC, mean of the classes",
    "accuracy": "accuracy",
    "calibration_error": "expected calibration error, 15 bins",
    "maximum_calibration_error": "maximum calibration error",
    "negative_log_likelihood": "negative log-likelihood, nat",
    "brier": "Brier score",
}


def title(result: ModelEvaluation) -> str:
    """The weights and the data set in one line."""
    weights, manifest = result.weights, result.data["manifest"]
    name = weights["name"] or weights["model"]
    if manifest is None:
        return f"{name} on {result.data['path']}"
    return f"{name} on {manifest['recipe']}, seed {manifest['seed']}"


def parts(result: ModelEvaluation) -> dict[str, Evaluation]:
    """The evaluations by what was done to the images."""
    found = {"as they are": result.as_is}
    if result.rotated is not None:
        found["rotated"] = result.rotated
    return found


def metric_rows(result: ModelEvaluation) -> list[list[str]]:
    """A row for each metric, after a row of headings.

    Beside each value stand its interval, if there is one, and the card's value, if
    the card belongs to the same recipe.
    """
    cards = dict(zip(("as they are", "rotated"), ("test", "test_rotated"), strict=True))
    heading, columns = ["metric"], []
    for name, evaluation in parts(result).items():
        heading.append(name)
        columns.append({k: f"{v:.4f}" for k, v in evaluation.values.items()})
        if evaluation.intervals:
            heading.append(f"{100 * LEVEL:.0f} % interval")
            columns.append(
                {k: f"{a:.4f} to {b:.4f}" for k, (a, b) in evaluation.intervals.items()}
            )
        if result.card is not None and result.card[cards[name]]:
            heading.append("card says")
            columns.append(_card_values(result.card[cards[name]]))
    rows = [
        [_name(key), *(column.get(key, "") for column in columns)]
        for key in result.as_is.values
    ]
    return [heading, *rows]


def _name(key: str) -> str:
    return _NAMES.get(key) or f"ROC AUC, {key.removeprefix('auc.')} against the rest"


def _card_values(card: Mapping[str, Any]) -> dict[str, str]:
    values = {k: card[k] for k in _NAMES if k in card}
    values |= {f"auc.{name}": value for name, value in card.get("auc", {}).items()}
    return {key: f"{value:.4f}" for key, value in values.items()}


def facts(result: ModelEvaluation) -> list[tuple[str, str]]:
    """What was evaluated on what, and how: names with values."""
    weights, data, settings = result.weights, result.data, result.settings
    trained = f", trained on {weights['recipe']}" if weights["recipe"] else ""
    classes = ", ".join(f"{n} {name}" for name, n in data["images_per_class"].items())
    found = [
        ("weights", f"{weights['name'] or '(unnamed)'} ({weights['model']}{trained})"),
        ("sha256", weights["sha256"]),
        ("data set", data["path"]),
        ("images", f"{data['images']} ({classes})"),
    ]
    if manifest := data["manifest"]:
        found += [
            ("recipe", f"{manifest['recipe']}, seed {manifest['seed']}"),
            ("simulated with", _listed(manifest["versions"])),
        ]
    if data["unlike"] is not None:
        found.append(
            (
                "unlike the training images",
                f"{data['unlike']} of {data['images']} by simple statistics",
            )
        )
    if result.card is not None:
        found.append(
            (
                "the card's test set",
                f"{weights['recipe']}, seed {result.card['seed']}, "
                f"{result.card['images']} images",
            )
        )
    if result.rotated is not None:
        found.append(
            (
                "rotated",
                "each image by an angle from 0 to 360 degrees, bilinear, half of them "
                f"mirrored (seed {settings['seed']})",
            )
        )
    if settings["resamples"]:
        found.append(
            (
                "intervals",
                f"percentiles of {settings['resamples']} bootstrap sets, stratified "
                f"by class (seed {settings['seed']})",
            )
        )
    return [
        *found,
        ("precision", settings["precision"]),
        ("evaluated with", _listed(result.versions)),
        ("date", result.date),
    ]


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def table(result: ModelEvaluation) -> str:
    """Plain text: title, metrics in columns, and what to know before they are used."""
    lines = in_columns(metric_rows(result))
    head = f"{title(result)}: {result.data['images']} images"
    return "\n".join([head, "", *lines, *(f"\n{text}" for text in result.remarks)])
