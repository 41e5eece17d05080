"""Errors of `create_model`, which lead to the call that was meant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lensequiv._suggestions import did_you_mean

__all__ = ["unknown_model", "unknown_option"]

_WEIGHTS = (
    "create_model builds untrained networks; lensequiv.from_pretrained loads weights, "
    "for instance "
)
# Words of timm, torchvision, segmentation_models and others.
_OTHER_WORDS = {
    **dict.fromkeys(
        ("in_chans", "in_chan", "num_channels", "n_channels", "channels", "in_ch"),
        "in_channels=",
    ),
    **dict.fromkeys(
        ("n_classes", "nb_classes", "num_labels", "num_class", "out_channels"),
        "num_classes=",
    ),
    **dict.fromkeys(
        ("classes", "class_names"),
        "num_classes=, and model.classes = (...) afterwards",
    ),
    **dict.fromkeys(
        ("drop_rate", "drop", "p_dropout", "dropout_rate"),
        "dropout=, where a network has it",
    ),
    **dict.fromkeys(
        ("img_size", "image_size", "input_size"),
        "model.set_input_size(size) afterwards",
    ),
    "features_only": "model.forward_features(x)",
    "checkpoint_path": "lensequiv.from_pretrained(folder)",
}
_LOADING = ("pretrained", "weights", "pretrained_cfg")


def unknown_model(name: object, known: Sequence[str]) -> ValueError:
    """The error for a name that no builder has.

    Args:
        name: What was given.
        known: Names of all builders.
    """
    from lensequiv.weights import list_pretrained

    text, weights = str(name), list_pretrained()
    trained = [weight for weight in weights if weight.lower() == text.lower()]
    if trained or "/" in text or Path(text).is_dir():
        source = trained[0] if trained else text
        return ValueError(
            f"unknown model {name!r}: create_model builds untrained networks; "
            f"lensequiv.from_pretrained({source!r}) loads weights. Known are "
            f"{', '.join(known)}"
        )
    hint = did_you_mean(text, [*known, *weights])
    if any(repr(weight) in hint for weight in weights):
        hint += "(weights: lensequiv.from_pretrained) "
    return ValueError(
        f"unknown model {name!r}; {hint}known are {', '.join(known)}; "
        "any group: create_model('steerable', group='c16')"
    )


def unknown_option(
    name: str, given: Mapping[str, Any], error: TypeError
) -> TypeError | None:
    """A better error for a keyword that a builder does not take.

    Args:
        name: Of the builder.
        given: Keywords of the call.
        error: What it raised.

    Returns:
        None if that is not what `error` is about.
    """
    found = re.search(
        r"(\S+)\(\) got an unexpected keyword argument '(\w+)'", str(error)
    )
    if found is None or (word := found[2]) not in given:
        return None
    if word in _LOADING:
        hint = _loading_hint(name, given[word])
    elif word in _OTHER_WORDS:
        hint = f"here it is {_OTHER_WORDS[word]}"
    else:
        options = sorted(_options(found[1]))
        hint = did_you_mean(word, options)
        hint += f"known are {', '.join(options)}" if options else "see its class"
    return TypeError(f"create_model({name!r}): unknown option {word!r}; {hint}")


def _loading_hint(name: str, value: object) -> str:
    from lensequiv.weights import list_pretrained

    if not value:
        return "create_model builds untrained networks always; leave it out"
    weights = list_pretrained(f"{name}-*")
    if not weights:
        return _WEIGHTS + f"{list_pretrained()[0]!r}; there are none of {name}"
    return _WEIGHTS + " or ".join(map(repr, weights))


def _options(function: str) -> Iterator[str]:
    """Keywords of the class whose constructor Python names so in an error."""
    from lensequiv.models._recorded import Recorded

    waiting = [Recorded]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__init__.__qualname__ == function:
            parameters = inspect.signature(cls).parameters
            yield from (name for name in parameters if name != "group")
            return
