"""Write a model as a folder that `from_pretrained` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from lensequiv._files import write_atomically
from lensequiv.models import LensModel
from lensequiv.pretrained._card import model_card
from lensequiv.pretrained._format import (
    CARD,
    CONFIG,
    DOMAIN,
    FORMAT,
    WEIGHTS,
)

__all__ = ["save_pretrained"]


def save_pretrained(
    model: LensModel,
    directory: str | Path,
    *,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `model.safetensors`, `config.json` and `README.md`.

    Only learnable tensors, batch-norm statistics and those of `model.domain` are
    stored, so the files do not depend on the model's mode or device. The config
    carries the checksum of the weights and is written last: a save that is cut short
    leaves a folder that either loads as before or is refused, never one that loads
    wrongly.

    Args:
        model: Any lensequiv model.
        directory: Made if needed; the three files in it are replaced.
        info: What is known about these weights (training data, metrics, licence,
            versions), JSON-able; by default what the model was loaded with.

    Returns:
        The directory.

    Raises:
        NotADirectoryError: `directory` is a file.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; expected a folder")
    tensors = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    trust: dict[str, Any] = {}
    if model.temperature != 1:
        trust["temperature"] = model.temperature
    if model.domain is not None:
        trust["domain"] = model.domain.to_config()
        tensors |= {DOMAIN + k: v for k, v in model.domain.tensors().items()}
    content = save(tensors)
    config = {
        "format": FORMAT,
        "model": model.name,
        "options": model.config,
        "classes": list(model.classes),
        "input_size": model.input_size,
        "preprocess": model.preprocess.to_config(),
        "sha256": hashlib.sha256(content).hexdigest(),
        **trust,
        "info": dict(model.weights_info if info is None else info),
    }
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / WEIGHTS, content)
    write_atomically(directory / CARD, model_card(config).encode())
    write_atomically(directory / CONFIG, text.encode())
    return directory
