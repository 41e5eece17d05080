"""The line at the end of a command: what was done, and how long it took."""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Stopwatch", "rows_of_file", "summary"]


_ENOUGH = 100


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def tell(self, what: str, images: int) -> None:
        """Prints a summary to stderr, so that stdout stays what it is.

        Args:
            what: Was done, without the time.
            images: To how many: for the rate.
        """
        seconds = time.monotonic() - self._start
        # Of few images the time is mostly that of starting, which says nothing of many.
        long = seconds > 2 and images >= _ENOUGH
        rate = f", {images / seconds:.3g} images a second" if long else ""
        print(f"{what}; {seconds:.1f} s{rate}", file=sys.stderr)


def summary(rows: Iterable[Mapping[str, Any]]) -> tuple[str, int]:
    """How many images are of which class, flagged, and could not be used.

    Args:
        rows: With `label`, `unlike_training` and perhaps `error`, as
            `lensequiv.predict_to_file` writes them.

    Returns:
        The text, and the number of rows.
    """
    labels: Counter[str] = Counter()
    flagged = skipped = images = 0
    for row in rows:
        images += 1
        if row.get("error"):
            skipped += 1
        else:
            labels[row["label"]] += 1
            flagged += row["unlike_training"] in (True, "True")
    shown = [f"{count} {label}" for label, count in labels.most_common(8)]
    if len(labels) > 8:
        shown.append(f"{len(labels) - 8} more classes")
    told = f"{images} image{'s' * (images != 1)}: {', '.join(shown) or 'none usable'}"
    told += f"; {flagged} unlike the training images; {skipped} skipped"
    return told, images


def rows_of_file(path: Path) -> Iterator[Mapping[str, Any]]:
    """The columns that `summary` needs, of a file that `predict_to_file` wrote."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        wanted = ["label", "unlike_training", "error"]
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=wanted):
            yield from batch.to_pylist()
    else:
        with path.open(newline="", encoding="utf-8") as stream:
            yield from csv.DictReader(stream)
