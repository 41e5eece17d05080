"""A weight on disk: `model.safetensors`, `config.json`, `README.md` in one folder."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lensequiv._checks import check_class_names, check_count
from lensequiv.spec import migrated
from lensequiv.spec._formats import JSON_NAMES

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "WeightsError",
    "checksum",
    "read_config",
]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
CHECKSUM = "config_sha256"

_MAX_CONFIG = 2**22  # bytes; the bundled ones take about 10,000
_SHA256 = re.compile("[0-9a-f]{64}")


class WeightsError(ValueError):
    """Weights or their config are not what they should be; the message says what."""


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(config: Mapping[str, Any]) -> str:
    """SHA-256 of what a config says, whatever its layout, as 64 hexadecimal digits.

    Args:
        config: Content of `config.json`; the key of the checksum itself is left out.
    """
    content = {key: value for key, value in config.items() if key != CHECKSUM}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_config(directory: Path) -> dict[str, Any]:
    """Reads and checks `config.json`.

    Returns:
        Its content, without the checksum.

    Raises:
        FileNotFoundError: There is none.
        WeightsError: It is not JSON, or a key is missing, unknown, twice there, of a
            wrong type or out of range, or the content does not fit its own checksum.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected a folder written by save_pretrained, "
            f"with {CONFIG} and {WEIGHTS}"
        )
    return checked_config(read_json(path), path)


def checked_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """A config in today's format, of which everything that can be is checked.

    Args:
        config: Content of the file, of any format that was ever written.
        path: Named in messages.

    Raises:
        WeightsError: As `read_config`.
    """
    if "sha256" not in config:
        raise WeightsError(f"{path}: key 'sha256' is missing")
    if type(config["sha256"]) is not str:
        found = JSON_NAMES[type(config["sha256"])]
        raise WeightsError(f"{path}: 'sha256' is {found}; expected a text")
    if not _SHA256.fullmatch(config["sha256"]):
        raise WeightsError(
            f"{path}: 'sha256' is {short(config['sha256'])}; expected 64 lower-case "
            "hexadecimal digits"
        )
    try:
        today = migrated(config)
        check_class_names(config["classes"], len(config["classes"]))
        check_count("input_size", config["input_size"])
    except ValueError as error:
        raise WeightsError(f"{path}: {short(error)}") from None
    _check_checksum(path, config)
    today.pop(CHECKSUM, None)
    return today


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; see `parsed`.

    Raises:
        WeightsError: The file is too large, or is not such JSON.
    """
    size = path.stat().st_size
    if size > _MAX_CONFIG:
        raise WeightsError(f"{path} has {size} bytes; expected at most {_MAX_CONFIG}")
    try:
        return parsed(path.read_bytes())
    except ValueError as error:
        raise WeightsError(f"{path} {short(error)}") from None


def parsed(content: bytes) -> dict[str, Any]:
    """JSON as the standard has it: no key twice, no NaN, of reasonable size.

    Raises:
        ValueError: It is something else; the message says what, without a subject.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise ValueError(f"key {short(twice)} stands there twice")
        return dict(pairs)

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no JSON number")

    def finite(text: str) -> float:
        if math.isfinite(value := float(text)):
            return value
        raise ValueError(f"{short(text)} is beyond the range of a number")

    if len(content) > _MAX_CONFIG:
        raise ValueError(f"has {len(content)} bytes; expected at most {_MAX_CONFIG}")
    try:
        config = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=refuse,
            parse_float=finite,
        )
        json.dumps(config, ensure_ascii=False).encode()  # no halves of characters
    except ValueError as error:
        raise ValueError(f"is not JSON: {short(error)}") from None
    except RecursionError:
        raise ValueError("is not JSON: nested too deeply") from None
    if not isinstance(config, dict):
        raise ValueError(f"holds {JSON_NAMES[type(config)]}; expected an object")
    return config


def _check_checksum(path: Path, config: dict[str, Any]) -> None:
    """Takes the checksum out of a config; those written before it existed have none."""
    expected = config.pop(CHECKSUM, None)
    if expected is not None and expected != (found := checksum(config)):
        raise WeightsError(
            f"{path}: {CHECKSUM!r} is {short(expected)}, but the content has {found}: "
            "it was damaged, or changed by hand; load the original and write a changed "
            "model with save_pretrained"
        )


def short(value: Any) -> str:
    """A value or an error as a message shows it: one printable line, not too long."""
    text = ascii(str(value))[1:-1] if isinstance(value, Exception) else ascii(value)
    return text if len(text) <= 300 else f"{text[:200]}...{text[-80:]}"


def pending(path: Path, content_sha256: str) -> Path:
    """Where weights wait until the config that belongs to them is in place."""
    return path.with_name(f"{path.name}.{content_sha256}")
