"""The model card: what a config says of a model, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lensequiv.spec import Information, migrated, read_information
from lensequiv.weights._card_front import front_matter
from lensequiv.weights._card_map import map_head
from lensequiv.weights._card_quantities import quantity_head
from lensequiv.weights._card_scores import (
    adapted,
    class_name,
    fine_tuned,
    metrics,
    one_line,
)
from lensequiv.weights._card_training import training

__all__ = ["model_card"]

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
_STUDY_RECIPES = ("modelF", "modelJ")


def model_card(
    config: Mapping[str, Any],
    name: str = "path/to/this/folder",
    *,
    dataset_owner: str | None = None,
) -> str:
    """Markdown for `README.md`: what is known of a model, and nothing else.

    Args:
        config: The content of `config.json`, of this or an older format.
        name: What to load it by.
        dataset_owner: Whose data sets on the Hub to name as those of training and test;
            None names none.

    Returns:
        The card, with the front matter that the Hugging Face Hub reads.
    """
    config = migrated(config)
    info = read_information(config["info"])
    lines = [
        *front_matter(config, info, name, dataset_owner),
        "",
        f"# {one_line(config['model'])}" + _made(info),
        "",
        f"Classifies square {_channels(config)}images into "
        f"{_list(config['classes'])}. "
        f"Architecture `{one_line(config['model'])}` of lensequiv, input "
        f"{config['input_size']} x {config['input_size']} pixels"
        + _scale(config["pixel_scale"])
        + ".",
        "",
        *_example(config, name),
        *_cost(config, info),
        *_start(info),
        *_untrained(info),
        *metrics(config, info),
        *fine_tuned(config, info),
        *adapted(info),
        *map_head(config, info),
        *quantity_head(config, info),
        *_trust(config),
        *training(info),
        *_conversion(info),
        *_noted(info),
        _limits(config, info),
        *_cite(config, info),
    ]
    return "\n".join(lines)


def _example(config: Mapping[str, Any], name: str) -> list[str]:
    """Code that runs as it stands, where the bundled images fit the network."""
    fits = config["options"].get("in_channels") == 1 and config["input_size"] <= 150
    loaded = f"model = lensequiv.from_pretrained({json.dumps(name)})"
    if not fits:
        lines = [
            "import lensequiv",
            "",
            loaded,
            "result = model.predict(images)  # arrays, tensors or paths",
        ]
    else:
        lines = [
            "import lensequiv",
            "from lensequiv.data import sample_paths",
            "",
            loaded,
            "result = model.predict(sample_paths())  # or your files, folders, arrays",
            "print(result[0])",
        ]
    return ["```python", *lines, "```", ""]


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
        return f", trained on {one_line(recipe)}"
    if info.fine_tuned and (start := info.fine_tuned.get("from")):
        return f", fine-tuned from {one_line(start)}"
    return ""


def _untrained(info: Information) -> list[str]:
    made = (info.trained_on, info.training, info.fine_tuned, info.adapted)
    if any(made) or info.started_from or info.converted or info.metrics:
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
    set_of_2021, _, _ = (recipe or "").partition("@")  # of any version of the recipe
    if set_of_2021 in _STUDY_RECIPES:
        limits += _LIMITS_STUDY
    elif recipe:
        limits += _LIMITS_SIMULATED.format(recipe=f"`{one_line(recipe)}`")
    if recipe and info.metrics:
        limits += _LIMITS_SCORES
    return limits + (_LIMITS_MODEL_F if set_of_2021 == "modelF" else "")


def _cite(config: Mapping[str, Any], info: Information) -> list[str]:
    built_on = []
    if (info.trained_on or {}).get("recipe"):
        built_on.append("the\nsimulated data sets (Alexander et al., arXiv:2008.12731)")
    if config["model"] == "resnet18":
        built_on.append("ResNet (He et al., arXiv:1512.03385)")
    else:
        built_on.append("steerable networks (Weiler and\nCesa, arXiv:1911.08251)")
    licence = f"{one_line(info.licence)} licence. " if info.licence else ""
    return [_CITE.format(licence=licence, built_on=", ".join(built_on))]


def _noted(info: Information) -> list[str]:
    """What has no known meaning, as it was given."""
    if not info.user:
        return []
    text = json.dumps(info.user, indent=2, ensure_ascii=False)
    runs = re.findall("`+", text)
    fence = "`" * max(3, 1 + max(map(len, runs), default=0))
    return ["## Recorded by the user", "", f"{fence}json", text, fence, ""]


def _list(names: list[str]) -> str:
    return ", ".join(map(class_name, names))


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
        f"`{one_line(start['weights'])}` (sha256 `{one_line(start['sha256'])}`).",
        "",
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


def _conversion(info: Information) -> list[str]:
    if not (converted := info.converted):
        return []
    return [
        "## Origin",
        "",
        "Converted from a checkpoint of the 2021 study, "
        f"`{one_line(converted['file'])}` (sha256 `{one_line(converted['sha256'])}`). "
        "Checked:",
        "",
        *(f"- {what}" for what in converted["checked"]),
        "",
        f"Taken on trust: {'; '.join(converted['taken_on_trust'])}.",
        "",
        f"Unknown: {'; '.join(converted['unknown'])}.",
        "",
    ]
