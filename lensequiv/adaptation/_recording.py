"""What `adapt` says of its choice: warnings, and the record of the copy."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from lensequiv.adaptation._networks import answers
from lensequiv.domain import fit_domain, image_features, statistics_ranges
from lensequiv.models import LensNetwork

__all__ = [
    "AdaptationWarning",
    "record",
    "warn_unchanged",
    "warn_unchecked",
    "warn_unequal",
]

_CALLER = 4  # warnings name the line that called `adapt`, which has a decorator


class AdaptationWarning(UserWarning):
    """No candidate was better than the weight as it is, or nobody knows whether."""


def warn_unchanged(scores: dict[str, float], margin: float | None) -> None:
    """No candidate was good enough.

    Args:
        scores: By candidate.
        margin: What the information had to gain; None if labels decided.
    """
    what = "log-likelihood of the labels" if margin is None else "information"
    needed = "" if margin is None else f", by more than {margin:g}"
    warnings.warn(
        f"no candidate is better than the weight as it is{needed} ({what}: "
        f"{_listed(scores)}): it comes back unchanged",
        AdaptationWarning,
        stacklevel=_CALLER,
    )


def warn_unequal(parts: dict[str, float]) -> None:
    """The estimated parts of the classes are too far from equal."""
    warnings.warn(
        f"the weight's own answers suggest classes in unequal parts "
        f"({_percent(parts)}), and adapting to those without labels does harm: the "
        "weight comes back unchanged. Give labelled images as validation or, if the "
        "parts are known to be equal, say balanced=True",
        AdaptationWarning,
        stacklevel=_CALLER,
    )


def warn_unchecked(scores: dict[str, float], parts: dict[str, float]) -> None:
    """A candidate was taken that no label has checked."""
    warnings.warn(
        f"taken by information alone, which is right only if the classes are in about "
        f"equal parts (the weight's own answers suggest {_percent(parts)}; "
        f"{_listed(scores)}): give labelled images as validation, or say "
        "balanced=True",
        AdaptationWarning,
        stacklevel=_CALLER,
    )


def _percent(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * part:.0f} %" for name, part in parts.items())


def _listed(scores: dict[str, float]) -> str:
    return "; ".join(f"{name}: {score:.3f}" for name, score in scores.items())


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def record(
    adapted: LensNetwork,
    model: LensNetwork,
    inputs: Tensor,
    scores: dict[str, float],
    chosen: str,
    validation: tuple[Any, Any] | None,
    pixel_scale: float | None,
    balanced: bool,
    parts: dict[str, float] | None,
) -> None:
    """Writes into the copy's record what it is, and where its images lie."""
    adapted.origin = None
    adapted.map_spec = None
    # None of the scores of the weight is the copy's.
    left = ("metrics", "image_statistics", "started_from")
    info = {k: v for k, v in model.weights_info.items() if k not in left}
    adapted.weights_info = {
        **info,
        "image_statistics": statistics_ranges(inputs),
        "adapted": {
            "from": None if model.origin is None else str(model.origin),
            "images": len(inputs),
            "chosen": chosen,
            "criterion": "information"
            if validation is None
            else "log-likelihood of labels",
            "said_to_be_balanced": balanced,
            **({} if parts is None else {"estimated_parts": _rounded(parts)}),
            "labelled_images": 0 if validation is None else len(validation[0]),
            "scores": _rounded(scores),
        },
    }
    if pixel_scale is not None and model.pixel_scale is None:
        adapted.pixel_scale = pixel_scale
    adapted.domain = None
    if model.domain is None:
        return
    chances, embeddings = answers(adapted, inputs)
    try:
        adapted.domain = fit_domain(
            image_features(inputs),
            embeddings,
            chances.argmax(1),
            model.num_classes,
            false_alarms=model.domain.false_alarms,
        )
    except ValueError as error:
        warnings.warn(
            f"the copy has no domain, so it flags by statistics alone: {error}",
            AdaptationWarning,
            stacklevel=_CALLER,
        )
