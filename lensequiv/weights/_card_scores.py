"""The tables of scores in a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from lensequiv.spec import Information, Scores

__all__ = ["adapted", "class_name", "fine_tuned", "metrics", "one_line"]


def one_line(text: str) -> str:
    """A text that may be anything, within a line."""
    return " ".join(text.split()).replace("`", "'")


def class_name(text: str) -> str:
    """A class name as code, also within a table."""
    return f"`{one_line(text)}`".replace("|", "\\|")


_ROWS = {
    "auc_micro": "micro-average ROC AUC",
    "accuracy": "accuracy",
    "calibration_error": "expected calibration error (15 bins)",
}


def _table(columns: Mapping[str, Scores], classes: list[str]) -> list[str]:
    """Scores of some sets side by side; what one of them lacks is a dash.

    Args:
        columns: By heading.
        classes: In the order of the logits.
    """

    def row(text: str, values: list[float | None]) -> list[str]:
        if all(value is None for value in values):
            return []
        cells = ["-" if v is None else f"{v:.4f}" for v in values]
        return [f"| {text} | {' | '.join(cells)} |"]

    found = [cast("dict[str, Any]", scores) for scores in columns.values()]
    rows = [
        *(
            line
            for key, text in _ROWS.items()
            for line in row(text, [scores.get(key) for scores in found])
        ),
        *(
            line
            for name in classes
            for line in row(
                f"ROC AUC, {class_name(name)} against the rest",
                [scores.get("auc", {}).get(name) for scores in found],
            )
        ),
    ]
    head = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return [*head, *rows, ""] if rows else []


def _confusion(scores: Scores, classes: list[str]) -> list[str]:
    matrix = scores.get("confusion", [])
    if [len(row) for row in matrix] != [len(classes)] * len(classes):
        return []
    return [
        "Confusion matrix (rows: truth, columns: answer):",
        "",
        "| | " + " | ".join(map(class_name, classes)) + " |",
        "|---" * (len(classes) + 1) + "|",
        *(
            f"| {class_name(name)} | " + " | ".join(map(str, row)) + " |"
            for name, row in zip(classes, matrix, strict=True)
        ),
        "",
    ]


def metrics(config: Mapping[str, Any], info: Information) -> list[str]:
    """Scores on test images, or that there are none."""
    recorded = info.metrics or {}
    upright, classes = recorded.get("test", {}), config["classes"]
    columns = {"as they are": upright}
    if "test_rotated" in recorded:
        columns["each rotated by a random angle"] = recorded["test_rotated"]
    if not (table := _table(columns, classes)):
        if info.fine_tuned:
            return []
        return ["No scores are recorded for these weights.", ""]
    count = f"{upright['images']} " if "images" in upright else ""
    lines = [
        "## Scores",
        "",
        f"On {count}test images that were scored once, after all choices were made:"
        if info.training
        else f"On {count}test images:",
        "",
        *table,
    ]
    if "grid_invariance" in recorded:
        lines += [
            "Largest change of a logit under 90-degree turns (and flips for D groups), "
            f"over the largest logit: {recorded['grid_invariance']:.1e}.",
            "",
        ]
    return [*lines, *_confusion(upright, classes)]


def adapted(info: Information) -> list[str]:
    """To which images without labels the weights were adapted, if to any."""
    if not (done := info.adapted):
        return []
    start = done.get("from")
    told = f"Adapted from `{one_line(start)}`" if start else "Adapted"
    told += f" to {done['images']} unlabelled images" if "images" in done else ""
    if "chosen" in done:
        told += f": {one_line(done['chosen'])}"
    told += ". Probabilities are not calibrated."
    if not done.get("labelled_images"):
        told += (
            " No label has checked it: where the classes of those images are not in "
            "about equal parts, it can be far worse than the weight it came from."
        )
    if parts := done.get("estimated_parts"):
        shares = (f"{class_name(k)} {100 * v:.0f} %" for k, v in parts.items())
        told += f" The answers of the weight it came from suggest {', '.join(shares)}."
    lines = ["## Adaptation", "", told, ""]
    if scores := done.get("scores"):
        what = one_line(done.get("criterion", "criterion"))
        lines += [f"| candidate | {what} |", "|---|---|"]
        lines += [
            f"| {one_line(name)} | {score:.4f} |" for name, score in scores.items()
        ]
        lines.append("")
    return lines


def fine_tuned(config: Mapping[str, Any], info: Information) -> list[str]:
    """The fine-tuning run and its scores, if there was one."""
    if not (run := info.fine_tuned):
        return []
    start = run.get("from")
    begun = f"From `{one_line(start)}`" if start else "From random weights"
    facts = [
        f"{run['images']} training images" if "images" in run else "",
        f"{run['steps']} steps" if "steps" in run else "",
        f"of which the state after {run['best_step']} was kept"
        if run.get("best_step", run.get("steps")) != run.get("steps")
        else "",
        f"seed {run['seed']}" if "seed" in run else "",
    ]
    told = ", ".join([begun, *filter(None, facts)]) + "."
    if "linear_check" in run:
        told += (
            " Logistic regression on the embedding of the weights it began with was "
            f"right for {run['linear_check']:.4f} of the validation images."
        )
    sets = {"validation": run.get("validation", {}), "test": run.get("test", {})}
    columns = {
        f"{name} ({scores['images']} images)" if "images" in scores else name: scores
        for name, scores in sets.items()
        if scores
    }
    table = _table(columns, config["classes"]) if columns else []
    return [
        "## Fine-tuning",
        "",
        told,
        "",
        *(table or ["No scores are recorded for these weights.", ""]),
        *_confusion(sets["test"], config["classes"]),
        *(["```", one_line(run["command"]), "```", ""] if "command" in run else []),
    ]
