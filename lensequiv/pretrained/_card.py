"""The model card: what a config says of a model, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from lensequiv.information import (
    ImageSet,
    Information,
    Scores,
    TrainedOn,
    Training,
    read_information,
)
from lensequiv.spec import migrated

__all__ = ["model_card", "weights_table"]

_LIMITS = """\
## Limits

- The answer says which of the classes above an image resembles most. On anything that
  is not like the training images (another pixel scale, another telescope's noise; lens
  light or neighbouring galaxies, if those had none) it means nothing.
  {warning}
"""
_WARNS = """\
`predict` warns where statistics of an image, or its embedding, lie outside those of the
  training images; that it does not warn proves nothing."""
_DOES_NOT_WARN = """\
`predict` does not warn of such images: nothing is known here about the training
  images."""
_LIMITS_STUDY = """\
- The training images are re-simulated after a recipe recovered from the literature and
  from published images, not the original files of the 2021 study. Their physics is
  simplified: one isothermal lens, point-mass subhalos, a straight vortex, a shear that
  never turns by more than 6.3 degrees.
"""
_LIMITS_SIMULATED = """\
- The training images are simulated after the recipe {recipe}.
"""
_LIMITS_SCORES = """\
- The scores hold for images drawn from the same recipe, nothing else.
"""
_LIMITS_MODEL_F = """\
- Every Model F lens has the same total mass, and what its substructure has the halo
  lacks: without substructure the Einstein radius is 1.2815 arcsec, always. A network
  trained on Model F alone reads that and no longer calls smooth lenses with a ring 0.02
  arcsec larger `no`; the bundled weights of Model F, which started from weights of
  Model J, hardly do (`docs/saliency.md` of lensequiv). Real lenses have any radius: for
  those, weights trained on Model J are the better start.
"""
_CITE = """\
## Licence and citation

{licence}Please cite lensequiv (its `CITATION.cff`) and what it builds on: {built_on}.
"""
_SPLITS = ("train", "val", "test")
_STUDY_RECIPES = ("modelF", "modelJ")


def model_card(config: Mapping[str, Any], name: str = "path/to/this/folder") -> str:
    """Markdown for `README.md`: what is known of a model, and nothing else.

    Args:
        config: The content of `config.json`, of this or an older format.
        name: What to load it by.

    Returns:
        The card, with the front matter that the Hugging Face Hub reads.
    """
    config = migrated(config)
    info = read_information(config["info"])
    lines = [
        "---",
        *_licence_tags(info.licence),
        "library_name: lensequiv",
        "tags: [gravitational-lensing, dark-matter, equivariant-networks]",
        "---",
        "",
        f"# {_line(config['model'])}" + _made(info),
        "",
        f"Classifies square {_channels(config)}images into "
        f"{_list(config['classes'])}. "
        f"Architecture `{_line(config['model'])}` of lensequiv, input "
        f"{config['input_size']} x {config['input_size']} pixels"
        + _scale(config["pixel_scale"])
        + ".",
        "",
        "```python",
        "import lensequiv",
        "",
        f"model = lensequiv.from_pretrained({json.dumps(name)})",
        "result = model.predict(images)  # arrays, tensors or paths",
        "```",
        "",
        *_cost(config, info),
        *_start(info),
        *_untrained(info),
        *_metrics(config, info),
        *_fine_tuned(config, info),
        *_trust(config),
        *_training(info),
        *_conversion(info),
        *_noted(info),
        _limits(config, info),
        *_cite(config, info),
    ]
    return "\n".join(lines)


def _line(text: str) -> str:
    """A text that may be anything, within a line."""
    return " ".join(text.split()).replace("`", "'")


def _licence_tags(licence: str | None) -> list[str]:
    """The Hub's name of a licence, or the text itself as the name of another one."""
    if not licence:
        return ["license: unknown"]
    if re.fullmatch(r"[A-Za-z0-9.-]+", licence):
        return [f"license: {licence.lower()}"]
    return ["license: other", f"license_name: {json.dumps(_line(licence))}"]


def _channels(config: Mapping[str, Any]) -> str:
    count = config["options"].get("in_channels")
    if type(count) is not int:
        return ""
    return "single-channel " if count == 1 else f"{count}-channel "


def _scale(pixel_scale: float | None) -> str:
    return "" if pixel_scale is None else f" of {pixel_scale:g} arcsec"


def _made(info: Information) -> str:
    """How the weights came about, for the heading."""
    if info.trained_on and (recipe := info.trained_on.get("recipe")):
        return f", trained on {_line(recipe)}"
    if info.fine_tuned and (start := info.fine_tuned.get("from")):
        return f", fine-tuned from {_line(start)}"
    return ""


def _untrained(info: Information) -> list[str]:
    known = (info.trained_on, info.training, info.fine_tuned, info.started_from)
    if any(known) or info.converted or info.metrics:
        return []
    return [
        "Untrained, as far as is recorded: nothing is noted of training images or of a "
        "training run."
        if not info.user
        else "Nothing is recorded of training but what stands under "
        '"Recorded by the user".',
        "",
    ]


def _limits(config: Mapping[str, Any], info: Information) -> str:
    watched = "domain" in config or info.image_statistics
    limits = _LIMITS.format(warning=_WARNS if watched else _DOES_NOT_WARN)
    recipe = (info.trained_on or {}).get("recipe")
    if recipe in _STUDY_RECIPES:
        limits += _LIMITS_STUDY
    elif recipe:
        limits += _LIMITS_SIMULATED.format(recipe=f"`{_line(recipe)}`")
    if recipe and info.metrics:
        limits += _LIMITS_SCORES
    return limits + (_LIMITS_MODEL_F if recipe == "modelF" else "")


def _cite(config: Mapping[str, Any], info: Information) -> list[str]:
    built_on = []
    if (info.trained_on or {}).get("recipe"):
        built_on.append("the\nsimulated data sets (Alexander et al., arXiv:2008.12731)")
    if config["model"] == "resnet18":
        built_on.append("ResNet (He et al., arXiv:1512.03385)")
    else:
        built_on.append("steerable networks (Weiler and\nCesa, arXiv:1911.08251)")
    licence = f"{_line(info.licence)} licence. " if info.licence else ""
    return [_CITE.format(licence=licence, built_on=", ".join(built_on))]


def _noted(info: Information) -> list[str]:
    """What has no known meaning, as it was given."""
    if not info.user:
        return []
    text = json.dumps(info.user, indent=2, ensure_ascii=False)
    runs = re.findall("`+", text)
    fence = "`" * max(3, 1 + max(map(len, runs), default=0))
    return ["## Recorded by the user", "", f"{fence}json", text, fence, ""]


def _name(text: str) -> str:
    """A class name as code, also within a table."""
    return f"`{_line(text)}`".replace("|", "\\|")


def _list(names: list[str]) -> str:
    return ", ".join(map(_name, names))


def _cost(config: Mapping[str, Any], info: Information) -> list[str]:
    cost, side = info.cost or {}, config["input_size"]
    parts = []
    if "parameters" in cost:
        parts.append(f"{cost['parameters']:,} parameters")
    if "multiply_adds" in cost:
        parts.append(
            f"{cost['multiply_adds'] / 1e9:.3f} billion multiply-adds for an image of "
            f"{side} x {side} pixels"
        )
    return ["; ".join(parts) + ".", ""] if parts else []


def _start(info: Information) -> list[str]:
    if not (start := info.started_from):
        return []
    return [
        "The weights were changed after they were loaded from "
        f"`{_line(start['weights'])}` (sha256 `{_line(start['sha256'])}`).",
        "",
    ]


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
                f"ROC AUC, {_name(name)} against the rest",
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
        "| | " + " | ".join(map(_name, classes)) + " |",
        "|---" * (len(classes) + 1) + "|",
        *(
            f"| {_name(name)} | " + " | ".join(map(str, row)) + " |"
            for name, row in zip(classes, matrix, strict=True)
        ),
        "",
    ]


def _metrics(config: Mapping[str, Any], info: Information) -> list[str]:
    metrics = info.metrics or {}
    upright, classes = metrics.get("test", {}), config["classes"]
    columns = {"as they are": upright}
    if "test_rotated" in metrics:
        columns["each rotated by a random angle"] = metrics["test_rotated"]
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
    if "grid_invariance" in metrics:
        lines += [
            "Largest change of a logit under 90-degree turns (and flips for D groups), "
            f"over the largest logit: {metrics['grid_invariance']:.1e}.",
            "",
        ]
    return [*lines, *_confusion(upright, classes)]


def _fine_tuned(config: Mapping[str, Any], info: Information) -> list[str]:
    if not (run := info.fine_tuned):
        return []
    start = run.get("from")
    begun = f"From `{_line(start)}`" if start else "From random weights"
    facts = [
        f"{run['images']} training images" if "images" in run else "",
        f"{run['steps']} steps" if "steps" in run else "",
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
    ]


def _trust(config: Mapping[str, Any]) -> list[str]:
    temperature = (
        "Probabilities are the softmax of the logits over a temperature of "
        f"{config['temperature']:.3f}."
    )
    if "domain" not in config:
        if config["temperature"] == 1:
            return []
        return ["## Trust", "", temperature, ""]
    share = 100 * config["domain"]["false_alarms"]
    return [
        "## Trust",
        "",
        f"{temperature} `ood_score` is the distance from the "
        f"training images; above {config['domain']['threshold']:.3g} an image is "
        f"flagged. Both were fitted to validation images, {share:.3g} % of which are "
        "flagged. `docs/trust.md` of lensequiv tells what that notices and misses.",
        "",
    ]


def _training(info: Information) -> list[str]:
    data, last = info.trained_on or {}, info.training
    runs = [] if last is None else _runs(last)
    sets = [*(run.get("trained_on", {}) for run in runs[:-1]), data]
    rows = [
        *(
            _set(f"train, {_line(s.get('recipe', 'unknown'))}, at first", s["train"])
            for s in sets[:-1]
            if "train" in s
        ),
        *(
            _set(split, cast("dict[str, Any]", data)[split])
            for split in _SPLITS
            if split in data
        ),
    ]
    table = ["| set | images | seed |", "|---|---|---|", *rows, ""] if rows else []
    commands = [
        line
        for run, made in zip(runs, sets, strict=False)
        for line in (*_simulations(made), *run.get("command", "").splitlines())
    ]
    told = [line for run in runs if (line := _run(run))]
    lines = [*table, *told, *([""] if told else [])]
    if commands:
        lines += ["```", *commands, "```", ""]
    return ["## Training", "", *lines] if lines else []


def _run(run: Training) -> str:
    """One line about a run, of what is recorded of it."""
    text = f"{run['images_seen']} images seen" if "images_seen" in run else "A run"
    if "minutes" in run:
        text += f" in {run['minutes']} minutes"
    if "machine" in run:
        text += f" ({_line(run['machine'])})"
    if "date" in run:
        text += f", {_line(run['date'])}"
    if run.get("before") and (start := run.get("started_from")):
        text += f", starting from `{_line(start)}`"
    return "" if text == "A run" else f"{text}."


def _set(name: str, described: ImageSet) -> str:
    fresh = ", simulated while training" if described.get("fresh") else ""
    images, seed = (described.get(key, "-") for key in ("images", "seed"))
    return f"| {name} | {images}{fresh} | {seed} |"


def _simulations(sets: TrainedOn) -> list[str]:
    """The commands that make the sets of a run, where seed and size are recorded."""
    by_name = cast("dict[str, Any]", sets)
    made = [(split, by_name[split]) for split in _SPLITS if split in by_name]
    return [
        f"lensequiv simulate {sets['recipe']} --images {one['images']} "
        f"--seed {one['seed']} data/{sets['recipe']}/{one.get('file', split)}"
        for split, one in made
        if "recipe" in sets and {"images", "seed"} <= one.keys()
        if not one.get("fresh")
    ]


def _conversion(info: Information) -> list[str]:
    if not (converted := info.converted):
        return []
    return [
        "## Origin",
        "",
        "Converted from a checkpoint of the 2021 study, "
        f"`{_line(converted['file'])}` (sha256 `{_line(converted['sha256'])}`). "
        "Checked:",
        "",
        *(f"- {what}" for what in converted["checked"]),
        "",
        f"Taken on trust: {'; '.join(converted['taken_on_trust'])}.",
        "",
        f"Unknown: {'; '.join(converted['unknown'])}.",
        "",
    ]


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
        study = AUC_OF_2021.get(info["trained_on"]["recipe"], {}).get(config["model"])
        runs = all_runs(info)
        seen = sum(run["images_seen"] for run in runs)
        minutes = sum(run["minutes"] * _cores(run) for run in runs)
        rows.append(
            f"| `{name}` | {upright['auc_micro']:.4f} | "
            + (f"{study:.4f}" if study else "-")
            + f" | {rotated['auc_micro']:.4f} | {upright['accuracy']:.4f} "
            f"| {upright['calibration_error']:.4f} "
            f"| {seen / 1000:.0f} thousand | {minutes:.0f} |"
        )
    return "\n".join(rows)


def _cores(run: Mapping[str, Any]) -> int:
    """How many a run kept busy, from what `examples/finish.py` wrote of it."""
    found = re.search(r"(?:(\d+) processes of )?(\d+) threads", run["machine"])
    return int(found[1] or 1) * int(found[2]) if found else 1


def all_runs(info: Mapping[str, Any]) -> list[Training]:
    """The training runs that led to these weights, first one first."""
    return _runs(info["training"])


def _runs(last: Training) -> list[Training]:
    runs = [last]
    while before := runs[0].get("before"):
        runs.insert(0, before)
    return runs
