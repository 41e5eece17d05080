"""`from_pretrained`: a name or a folder to a model that is ready to predict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from lensequiv.models import LensModel, create_model
from lensequiv.models.base import default_classes
from lensequiv.pretrained._catalogue import (
    bundled_directory,
    list_pretrained,
    sha256_of,
)
from lensequiv.pretrained._format import (
    CONFIG,
    DOMAIN,
    WEIGHTS,
    WeightsError,
    check_tensors,
    read_config,
    read_weights,
)
from lensequiv.transforms import preprocessing_from_config
from lensequiv.trust import Domain

__all__ = ["from_pretrained"]


def from_pretrained(
    name: str | Path,
    *,
    num_classes: int | None = None,
    classes: list[str] | tuple[str, ...] | None = None,
) -> LensModel:
    """Loads trained weights, strictly.

    Args:
        name: One of `list_pretrained()` (bundled, no network), or a folder written by
            `save_pretrained`.
        num_classes: For fine-tuning: keeps the trained body and puts a new, randomly
            initialised head on it, even where the number is the trained one. What was
            fitted to the old classes and images goes with the old head: temperature,
            domain and `weights_info` (see `lensequiv.trust.calibrate`).
        classes: Names for the new head's classes; implies `num_classes`.

    Returns:
        The model in evaluation mode, on the CPU, in float32.

    Raises:
        ValueError: No weight and no folder of this name, or `classes` does not fit
            `num_classes`.
        FileNotFoundError: The folder lacks a file.
        WeightsError: Checksum, config or a tensor's name, shape, dtype or value is
            not what it should be; the message names it.
    """
    directory, known = _locate(name)
    config = read_config(directory)
    if known is not None and config["sha256"] != known:
        raise WeightsError(
            f"{directory / CONFIG}: sha256 {config['sha256']} differs from the "
            f"catalogue's {known}; reinstall lensequiv"
        )
    tensors = read_weights(directory / WEIGHTS, config["sha256"])
    model = _build(directory / CONFIG, config)
    if "domain" in config:
        model.domain = _domain(directory, config, tensors)
        tensors = {k: v for k, v in tensors.items() if not k.startswith(DOMAIN)}
    check_tensors(tensors, model.state_dict(), directory / WEIGHTS)
    model.load_state_dict(tensors, strict=True)
    model.weights_info = config["info"]
    if num_classes is not None or classes is not None:
        model = _with_new_head(model, num_classes, classes)
    return model.eval()


def _locate(name: str | Path) -> tuple[Path, str | None]:
    if isinstance(name, str) and name in list_pretrained():
        return bundled_directory(name), sha256_of(name)
    if Path(name).is_dir():
        return Path(name), None
    raise ValueError(
        f"{str(name)!r} is neither a weight ({', '.join(list_pretrained())}) nor an "
        "existing folder"
    )


def _build(path: Path, config: dict[str, Any]) -> LensModel:
    """Builds the model a config describes, without initialising it."""
    try:
        model = create_model(config["model"], **config["options"], initialize=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot build the model: {error}") from error
    classes = config["classes"]
    if len(classes) != model.num_classes or not all(
        isinstance(c, str) for c in classes
    ):
        raise WeightsError(
            f"{path}: 'classes' is {classes!r}; expected {model.num_classes} names"
        )
    if config["input_size"] not in model.input_sizes:
        raise WeightsError(
            f"{path}: 'input_size' is {config['input_size']}; {model.name} takes "
            f"{model.input_sizes}"
        )
    try:
        model.preprocess = preprocessing_from_config(config["preprocess"])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: 'preprocess': {error}") from error
    model.classes, model.input_size = tuple(classes), config["input_size"]
    model.temperature = config.get("temperature", 1.0)
    if not 0 < model.temperature < math.inf:
        raise WeightsError(
            f"{path}: 'temperature' is {model.temperature}; expected a positive number"
        )
    return model


def _domain(
    directory: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Domain:
    parts = {
        name.removeprefix(DOMAIN): value
        for name, value in tensors.items()
        if name.startswith(DOMAIN)
    }
    try:
        domain = Domain.from_config(config["domain"], parts)
        if (found := len(domain.embedding.means)) != len(config["classes"]):
            raise ValueError(f"{found} classes; expected {len(config['classes'])}")
    except ValueError as error:
        raise WeightsError(
            f"{directory}: 'domain' of {CONFIG} and {WEIGHTS}: {error}"
        ) from error
    return domain


def _with_new_head(
    model: LensModel,
    num_classes: int | None,
    classes: list[str] | tuple[str, ...] | None,
) -> LensModel:
    if classes is not None and num_classes not in (None, len(classes)):
        raise ValueError(f"num_classes={num_classes}, but {len(classes)} class names")
    count = len(classes) if classes is not None else num_classes
    fresh = create_model(model.name, **{**model.config, "num_classes": count})
    body = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    head = {k: v for k, v in fresh.state_dict().items() if k.startswith("head.")}
    with torch.no_grad():
        fresh.load_state_dict({**body, **head}, strict=True)
    fresh.preprocess, fresh.input_size = model.preprocess, model.input_size
    fresh.classes = (
        tuple(classes) if classes is not None else default_classes(fresh.num_classes)
    )
    return fresh
