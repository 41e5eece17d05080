"""A run that was ended, found again and gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lensequiv.files import write_atomically
from lensequiv.spec import Network, fingerprint

__all__ = ["Done", "record_request", "request_of"]


def request_of(model: Network, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides an image's row: weights, preprocessing, classes, options.

    Args:
        model: Its weights enter by their `fingerprint`.
        options: Taken as they are.

    Returns:
        The request, JSON-able if the options are.
    """
    return {"weights": fingerprint(model), **model.spec.answers(), **options}


def record_request(
    record: Path, out: Path, request: Mapping[str, Any], advice: str
) -> None:
    """Records a request, or finds the record that an unfinished run of it left.

    Args:
        record: The file; the folder around it is made and holds what was begun.
        out: What is to be made, for the message.
        request: As `request_of` returns.
        advice: For the message: what to do otherwise than repeating the old call.

    Raises:
        FileExistsError: The record is of another request.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    request = json.loads(json.dumps(request))  # as it will be read back
    if record.exists():
        found = json.loads(record.read_text())
        different = [key for key in request if found.get(key) != request[key]]
        if different:
            raise FileExistsError(
                f"{record.parent} holds the unfinished {out.name} of a call with other "
                f"{', '.join(different)}: repeat that call, or {advice}"
            )
    replace_json(record, request)


class Done:
    """How far a run has come, in a file that survives a kill.

    It names the rows by the SHA-256 of the names of their images, in order, so that
    images that come later in the list may be added or taken away in between.

    Args:
        file: Where it is kept.
        names: Of all images, in order.

    Raises:
        FileExistsError: The rows that were written are of other images, or of these in
            another order.
    """

    def __init__(self, file: Path, names: Sequence[str]) -> None:
        self.file, self.names = file, names
        self.rows = self.bytes = 0
        self._digest = hashlib.sha256()
        if not file.exists():
            return
        found = json.loads(file.read_text())
        self._take(names[: found["rows"]])
        if self.rows != found["rows"] or self._digest.hexdigest() != found.get("names"):
            raise FileExistsError(
                f"{file.parent} holds {found['rows']} rows of a call with other images "
                "(or in another order)"
            )
        self.bytes = found["bytes"]

    def add(self, rows: int, length: int) -> None:
        """Records that `rows` more are written, to a file of `length` bytes."""
        self._take(self.names[self.rows : self.rows + rows])
        self.bytes = length
        content = {
            "rows": self.rows,
            "bytes": self.bytes,
            "names": self._digest.hexdigest(),
        }
        replace_json(self.file, content)

    def _take(self, names: Sequence[str]) -> None:
        self.rows += len(names)
        for name in names:
            self._digest.update(name.encode(errors="surrogateescape") + b"\0")


def replace_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replaces a small file: it survives a kill, not a power failure."""
    write_atomically(path, json.dumps(content).encode(), sync=False)
