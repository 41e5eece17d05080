"""A weight on disk: `model.safetensors`, `config.json`, `README.md` in one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["CONFIG", "WEIGHTS", "WeightsError", "read_config", "read_weights"]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
FORMAT = 1
DOMAIN = "domain."
"""Prefix of the tensors of `LensModel.domain` in the weights file."""

# Key of config.json -> what its value must be.
_SCHEMA: dict[str, type] = {
    "format": int,
    "model": str,
    "options": dict,
    "classes": list,
    "input_size": int,
    "preprocess": dict,
    "sha256": str,
    "info": dict,
}
# Absent in folders whose model was never calibrated.
_OPTIONAL: dict[str, type] = {"temperature": float, "domain": dict}


class WeightsError(ValueError):
    """Weights or their config are not what they should be; the message says what."""


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_config(directory: Path) -> dict[str, Any]:
    """Reads and checks `config.json`.

    Raises:
        FileNotFoundError: There is none.
        WeightsError: It is not JSON, or a key is missing, unknown or of a wrong type.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected a folder written by save_pretrained, "
            f"with {CONFIG} and {WEIGHTS}"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        found = type(config).__name__
        raise WeightsError(f"{path} holds a {found}; expected an object")
    schema = _SCHEMA | {k: v for k, v in _OPTIONAL.items() if k in config}
    for key, kind in schema.items():
        if key not in config:
            raise WeightsError(f"{path}: key {key!r} is missing")
        if not isinstance(config[key], kind) or isinstance(config[key], bool):
            raise WeightsError(
                f"{path}: {key!r} is {config[key]!r}; expected {kind.__name__}"
            )
    if unknown := sorted(set(config) - set(schema)):
        raise WeightsError(f"{path}: unknown key {unknown[0]!r}")
    if config["format"] != FORMAT:
        raise WeightsError(
            f"{path}: format {config['format']}; this lensequiv reads format {FORMAT}: "
            "a newer one may read it"
        )
    return config


def read_weights(path: Path, expected_sha256: str) -> dict[str, Tensor]:
    """Reads a safetensors file after comparing its checksum.

    Raises:
        FileNotFoundError: There is none.
        WeightsError: Checksum, file structure or a value (NaN, infinity) is wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it belongs beside {CONFIG}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sha256:
        raise WeightsError(
            f"{path}: its sha256 is {found}, expected {expected_sha256}: the file was "
            "changed or damaged, or belongs to another config; fetch it again"
        )
    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: tensor {name!r} has NaN or infinite values")
    return tensors


def check_tensors(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> None:
    """Requires the same names, shapes and dtypes.

    Raises:
        WeightsError: Naming the first tensor that differs.
    """
    if missing := sorted(set(expected) - set(found)):
        raise WeightsError(f"{path}: tensor {missing[0]!r} is missing")
    if unexpected := sorted(set(found) - set(expected)):
        raise WeightsError(f"{path}: unexpected tensor {unexpected[0]!r}")
    for name, tensor in found.items():
        have = f"{tuple(tensor.shape)} {tensor.dtype}"
        want = f"{tuple(expected[name].shape)} {expected[name].dtype}"
        if have != want:
            raise WeightsError(f"{path}: tensor {name!r} is {have}; expected {want}")
