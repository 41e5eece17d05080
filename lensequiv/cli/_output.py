"""What subcommands print."""

from __future__ import annotations

import csv
import json
import math
import sys
from typing import Any

from lensequiv._tables import in_columns

__all__ = ["print_csv", "print_json", "print_table"]


def print_json(value: Any) -> None:
    """Prints a value as JSON that every program reads.

    JSON has no word for infinity or NaN: such numbers become null.
    """
    print(json.dumps(_json_ready(value), indent=2, allow_nan=False))


def _json_ready(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item) for item in value]
    return value


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Prints rows with the same keys as CSV."""
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Prints rows with the same keys for people: in columns, rounded to four places.

    What would move the cursor or break the line, for instance in a file's name, is
    printed as an escape.
    """
    columns = list(rows[0])
    cells = [columns, *([_cell(row[c]) for c in columns] for row in rows)]
    print("\n".join(in_columns(cells)))


def _cell(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )
