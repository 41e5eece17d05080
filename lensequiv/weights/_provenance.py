"""`origin.json`: where the weights in a downloaded folder are from."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lensequiv.files import write_atomically
from lensequiv.spec import Origin
from lensequiv.weights._format import WeightsError

__all__ = ["PROVENANCE", "read_provenance", "write_provenance"]

PROVENANCE = "origin.json"
_KEYS = {field.name for field in fields(Origin)}
_SOURCES = ("bundled", "hub")


def write_provenance(directory: Path, origin: Origin) -> None:
    """Records where a folder's weights were downloaded from."""
    text = json.dumps(asdict(origin), indent=2) + "\n"
    write_atomically(directory / PROVENANCE, text.encode())


def read_provenance(directory: Path, origin: Origin) -> Origin:
    """The origin of a folder's weights before they were downloaded, if it is known.

    A record of other weights (the folder was written to since) is passed over.

    Args:
        directory: A folder with weights.
        origin: Its origin, with the checksum of the weights.

    Returns:
        The recorded origin, or the folder's own.

    Raises:
        WeightsError: There is a record, but not one that `lensequiv download` wrote.
    """
    path = directory / PROVENANCE
    if not path.is_file():
        return origin
    try:
        record: Any = json.loads(path.read_bytes())
    except ValueError:
        record = None
    if not isinstance(record, dict) or set(record) != _KEYS or not _texts(record):
        raise WeightsError(
            f"{path} is not what 'lensequiv download' writes; it is of use to people "
            "only, so delete it"
        )
    return Origin(**record) if record["sha256"] == origin.sha256 else origin


def _texts(record: dict[str, Any]) -> bool:
    optional = (record["revision"], record["commit"])
    return (
        record["source"] in _SOURCES
        and all(isinstance(record[key], str) for key in ("name", "sha256"))
        and all(value is None or isinstance(value, str) for value in optional)
    )
