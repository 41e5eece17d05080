"""The model card, written from the config alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["model_card", "weights_table"]

_LIMITS = """\
## Limits

- The answer says which of the classes above an image resembles most. On anything that
  is not a lens like the simulated ones (lens light, neighbouring galaxies, another
  pixel scale, another telescope's noise) it means nothing. {warning}
"""
_WARNS = """\
`predict` warns where
  statistics of an image, or its embedding, lie outside those of the training images;
  that it does not warn proves nothing."""
_DOES_NOT_WARN = """\
`predict` does
  not warn of such images: nothing is known here about the training images."""
_LIMITS_SIMULATED = """\
- The training images are re-simulated after a recipe recovered from the literature and
  from published images, not the original files of the 2021 study. Their physics is
  simplified: one isothermal lens, point-mass subhalos, a straight vortex, a shear that
  never turns by more than 6.3 degrees.
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

{licence} licence. Please cite lensequiv (its `CITATION.cff`) and what it builds on: the
simulated data sets (Alexander et al., arXiv:2008.12731), steerable networks (Weiler and
Cesa, arXiv:1911.08251).
"""


def model_card(config: Mapping[str, Any], name: str = "path/to/this/folder") -> str:
    """Markdown for `README.md`: what the model is, was trained on, and scored.

    Args:
        config: The content of `config.json`.
        name: What to load it by.

    Returns:
        The card, with the front matter that the Hugging Face Hub reads.
    """
    info = config["info"]
    lines = [
        "---",
        f"license: {info.get('licence', 'unknown').lower()}",
        "library_name: lensequiv",
        "tags: [gravitational-lensing, dark-matter, equivariant-networks]",
        "---",
        "",
        f"# {config['model']}" + _trained_on(info),
        "",
        f"Classifies square single-field images into {_list(config['classes'])}. "
        f"Architecture `{config['model']}` of lensequiv, input "
        f"{config['input_size']} x {config['input_size']} pixels.",
        "",
        "```python",
        "import lensequiv",
        "",
        f'model = lensequiv.from_pretrained("{name}")',
        "result = model.predict(images)  # arrays, tensors or paths",
        "```",
        "",
        *_cost(config),
        *_start(info),
        *_metrics(config),
        *_trust(config),
        *_training(info),
        *_conversion(info),
    ]
    if "converted" in info:
        lines.append(_LIMITS.format(warning=_DOES_NOT_WARN))
    else:
        limits = _LIMITS.format(warning=_WARNS) + _LIMITS_SIMULATED
        if info.get("trained_on", {}).get("recipe") == "modelF":
            limits += _LIMITS_MODEL_F
        lines.append(limits)
    if "licence" in info:
        lines.append(_CITE.format(licence=info["licence"]))
    return "\n".join(lines)


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _trained_on(info: Mapping[str, Any]) -> str:
    trained = info.get("trained_on")
    return f", trained on {trained['recipe']}" if trained else ""


def _cost(config: Mapping[str, Any]) -> list[str]:
    if not (cost := config["info"].get("cost")):
        return []
    side = config["input_size"]
    return [
        f"{cost['parameters']:,} parameters; {cost['multiply_adds'] / 1e9:.3f} billion "
        f"multiply-adds for an image of {side} x {side} pixels.",
        "",
    ]


def _start(info: Mapping[str, Any]) -> list[str]:
    if not (start := info.get("started_from")):
        return []
    return [
        f"The weights were changed after they were loaded from `{start['weights']}` "
        f"(sha256 `{start['sha256']}`).",
        "",
    ]


def _metrics(config: Mapping[str, Any]) -> list[str]:
    metrics = config["info"].get("metrics")
    if not metrics:
        return ["No scores are recorded for these weights.", ""]
    upright, rotated = metrics["test"], metrics["test_rotated"]
    rows = [("micro-average ROC AUC", "auc_micro"), ("accuracy", "accuracy")]
    rows.append(("expected calibration error (15 bins)", "calibration_error"))
    lines = [
        "## Scores",
        "",
        f"On {upright['images']} test images that were scored once, after all choices "
        "were made:",
        "",
        "| | as they are | each rotated by a random angle |",
        "|---|---|---|",
        *(
            f"| {text} | {upright[key]:.4f} | {rotated[key]:.4f} |"
            for text, key in rows
        ),
        *(
            f"| ROC AUC, `{name}` against the rest | {upright['auc'][name]:.4f} "
            f"| {rotated['auc'][name]:.4f} |"
            for name in config["classes"]
        ),
        "",
        "Largest change of a logit under 90-degree turns (and flips for D groups), "
        f"over the largest logit: {metrics['grid_invariance']:.1e}.",
        "",
        "Confusion matrix (rows: truth, columns: answer):",
        "",
        "| | " + " | ".join(f"`{c}`" for c in config["classes"]) + " |",
        "|---" * (len(config["classes"]) + 1) + "|",
    ]
    for name, row in zip(config["classes"], upright["confusion"], strict=True):
        lines.append(f"| `{name}` | " + " | ".join(map(str, row)) + " |")
    return [*lines, ""]


def _trust(config: Mapping[str, Any]) -> list[str]:
    if "domain" not in config:
        return []
    share = 100 * config["domain"]["false_alarms"]
    return [
        "## Trust",
        "",
        "Probabilities are the softmax of the logits over a temperature of "
        f"{config.get('temperature', 1.0):.3f}. `ood_score` is the distance from the "
        f"training images; above {config['domain']['threshold']:.3g} an image is "
        f"flagged. Both were fitted to validation images, {share:.3g} % of which are "
        "flagged. `docs/trust.md` of lensequiv tells what that notices and misses.",
        "",
    ]


def _training(info: Mapping[str, Any]) -> list[str]:
    if "training" not in info:
        return []
    data, runs = info["trained_on"], all_runs(info)
    sets = [*(run.get("trained_on", {}) for run in runs[:-1]), data]
    commands = [
        line
        for run, made in zip(runs, sets, strict=True)
        for line in (*_simulations(made), run["command"])
    ]
    lines = [
        "## Training",
        "",
        "| set | images | seed |",
        "|---|---|---|",
        *(_set(f"train, {s['recipe']}, at first", s["train"]) for s in sets[:-1] if s),
        *(_set(split, data[split]) for split in ("train", "val", "test")),
        "",
        *(
            f"{run['images_seen']} images seen in {run['minutes']} minutes "
            f"({run['machine']}), {run['date']}"
            + (
                f", starting from `{run['started_from']}`."
                if run.get("before")
                else "."
            )
            for run in runs
        ),
        "",
        "```",
        *commands,
        "```",
        "",
    ]
    return lines


def _set(name: str, described: Mapping[str, Any]) -> str:
    fresh = ", simulated while training" if described.get("fresh") else ""
    return f"| {name} | {described['images']}{fresh} | {described['seed']} |"


def _simulations(sets: Mapping[str, Any]) -> list[str]:
    """The commands that make the sets of a run."""
    return [
        f"lensequiv simulate {sets['recipe']} --images {sets[split]['images']} "
        f"--seed {sets[split]['seed']} "
        f"data/{sets['recipe']}/{sets[split].get('file', split)}"
        for split in ("train", "val", "test")
        if split in sets and not sets[split].get("fresh")
    ]


def _conversion(info: Mapping[str, Any]) -> list[str]:
    if "converted" not in info:
        return []
    converted = info["converted"]
    return [
        "## Origin",
        "",
        f"Converted from a checkpoint of the 2021 study, `{converted['file']}` (sha256 "
        f"`{converted['sha256']}`). Checked:",
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


def all_runs(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The training runs that led to these weights, first one first."""
    runs = [info["training"]]
    while before := runs[0].get("before"):
        runs.insert(0, before)
    return runs
