"""The front matter of a card: what the Hugging Face Hub reads of it.

https://huggingface.co/docs/hub/model-cards names the keys. The text is YAML, written by
hand so that it is the same everywhere; strings are quoted as in JSON, which YAML
contains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lensequiv.spec import Information
from lensequiv.weights._card_scores import one_line

__all__ = ["dataset_id", "front_matter", "scored"]

_TAGS = (
    "astronomy",
    "gravitational-lensing",
    "dark-matter",
    "equivariant-networks",
    "pytorch",
)
# Name of the score in `info`, of the metric on the Hub, and in words.
_METRICS = (
    ("auc_micro", "roc_auc", "micro-average ROC AUC"),
    ("accuracy", "accuracy", "accuracy"),
    ("calibration_error", "expected_calibration_error", "expected calibration error"),
)


def front_matter(
    config: Mapping[str, Any], info: Information, name: str, owner: str | None = None
) -> list[str]:
    """The lines from `---` to `---`.

    Args:
        config: The content of `config.json`.
        info: What is known of the weights.
        name: What they are loaded by.
        owner: Of the data sets on the Hub that are to be named; None names none.
    """
    scores = scored(info)
    known = [dataset_id(owner, info)] if owner else []
    return [
        "---",
        *_licence(info.licence),
        "library_name: lensequiv",
        "pipeline_tag: image-classification",
        f"tags: [{', '.join(_TAGS)}]",
        *(f"datasets: [{json.dumps(one)}]" for one in known if one),
        *([f"metrics: [{', '.join(kind for kind, _, _ in scores)}]"] if scores else []),
        *_results(info, name, known[0] if known else None),
        "---",
    ]


def dataset_id(owner: str, info: Information) -> str | None:
    """The Hub's name of the simulated images that the weights were tested on."""
    recipe = (info.trained_on or {}).get("recipe")
    if not recipe:
        return None
    return f"{owner}/lensequiv-{re.sub('[^A-Za-z0-9._-]+', '-', recipe)}"


def scored(info: Information) -> list[tuple[str, str, float]]:
    """The test scores that there are: the Hub's name, in words, and the value."""
    found: Mapping[str, Any] = (info.metrics or {}).get("test") or {}
    return [(kind, text, found[key]) for key, kind, text in _METRICS if key in found]


def _licence(licence: str | None) -> list[str]:
    """The Hub's name of a licence, or the text itself as the name of another one."""
    if not licence:
        return ["license: unknown"]
    if re.fullmatch(r"[A-Za-z0-9.-]+", licence):
        return [f"license: {licence.lower()}"]
    return ["license: other", f"license_name: {json.dumps(one_line(licence))}"]


def _results(info: Information, name: str, dataset: str | None) -> list[str]:
    """The block `model-index`, from which the Hub shows scores."""
    trained_on: Mapping[str, Any] = info.trained_on or {}
    recipe = trained_on.get("recipe")
    if not (scores := scored(info)) or not recipe:
        return []
    seed = (trained_on.get("test") or {}).get("seed")
    images = f"{one_line(recipe)}, simulated" + (f", seed {seed}" if seed else "")
    return [
        "model-index:",
        f"- name: {json.dumps(one_line(name))}",
        "  results:",
        "  - task:",
        "      type: image-classification",
        "      name: dark-matter substructure of gravitational lenses",
        "    dataset:",
        f"      type: {json.dumps(dataset or 'simulated')}",
        f"      name: {json.dumps(images)}",
        "      split: test",
        "    metrics:",
        *(
            line
            for kind, text, value in scores
            for line in (
                f"    - type: {kind}",
                f"      name: {text}",
                f"      value: {json.dumps(value)}",
            )
        ),
    ]
