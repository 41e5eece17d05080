"""A weight's folder, read and checked as far as that goes without the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lensequiv.spec import DOMAIN, Spec
from lensequiv.weights._format import (
    CONFIG,
    WEIGHTS,
    WeightsError,
    read_config,
    short,
)
from lensequiv.weights._tensors import read_weights

__all__ = ["StoredWeight", "read_folder"]


@dataclass(frozen=True)
class StoredWeight:
    """What a weight's folder holds.

    Attributes:
        config: Content of `config.json`, in today's format.
        spec: The record that it makes, with the domain's tensors.
        tensors: Those of the network, by name.
    """

    config: dict[str, Any]
    spec: Spec
    tensors: dict[str, Tensor]


def read_folder(directory: Path, expected_sha256: str = "") -> StoredWeight:
    """Reads `config.json` and `model.safetensors`.

    Args:
        directory: The folder.
        expected_sha256: The catalogue's checksum of the tensors; empty if there is
            none.

    Raises:
        FileNotFoundError: A file is missing.
        WeightsError: A checksum, the config or a value is not what it should be.
    """
    config = read_config(directory)
    if expected_sha256 and config["sha256"] != expected_sha256:
        raise WeightsError(
            f"{directory / CONFIG}: sha256 {config['sha256']} differs from the "
            f"catalogue's {expected_sha256}; reinstall lensequiv"
        )
    tensors = read_weights(directory / WEIGHTS, config["sha256"])
    of_domain = {
        name.removeprefix(DOMAIN): tensors.pop(name)
        for name in list(tensors)
        if "domain" in config and name.startswith(DOMAIN)
    }
    try:
        spec = Spec.from_config(config, of_domain)
    except ValueError as error:
        both = f"{directory}: {CONFIG} and {WEIGHTS}"
        where = both if of_domain else str(directory / CONFIG)
        raise WeightsError(f"{where}: {short(error)}") from error
    return StoredWeight(config, spec, tensors)
