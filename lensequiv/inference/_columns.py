"""The columns of predictions, wherever they are written."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    import pyarrow

    from lensequiv.inference._batches import Batch
    from lensequiv.inference._prediction import Prediction

__all__ = [
    "ABOUT",
    "CsvRows",
    "class_columns",
    "column_names",
    "parquet_schema",
    "readable",
    "rows_of",
    "rows_of_prediction",
    "shortest",
    "written_path",
]

ABOUT = ("ood_score", "unlike_training", "notes", "error")
"""The columns after those of the classes."""


def class_columns(classes: Sequence[str]) -> list[str]:
    """The columns of the classes' probabilities: their names.

    A class that is called like another column, for instance `error`, gets the column
    `p(error)`, so that neither hides the other.
    """
    taken = {"path", "label", *ABOUT}
    return [f"p({name})" if name in taken else name for name in classes]


def column_names(classes: Sequence[str]) -> list[str]:
    """All columns, in order."""
    return ["path", "label", *class_columns(classes), *ABOUT]


def written_path(path: str) -> str:
    """A path as it is written to files and screens.

    File names are bytes on Unix, and some are not UTF-8. Such a path is written as the
    `file:` URI of the absolute path, whose percent signs keep every byte (RFC 8089);
    so is one that begins with `file:` itself, so that no two paths are written alike.
    All others are written as they are.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        pass
    else:
        if not path.startswith("file:"):
            return path
    return "file://" + quote_from_bytes(os.fsencode(Path(path).absolute()))


def readable(text: str) -> str:
    """A text that UTF-8 can hold: what it cannot becomes an escape."""
    return text.encode(errors="backslashreplace").decode()


def shortest(values: Tensor) -> list[Any]:
    """Float32 numbers as floats whose digits are the fewest that bring them back.

    Printed, 0.1 becomes 0.1 and not 0.10000000149011612. As float32 they are the
    numbers that were given, to the last bit.
    """
    array: NDArray[np.float64] = values.numpy().astype(str).astype(np.float64)
    return array.tolist()  # type: ignore[no-any-return]  # nested as the array is


def rows_of(batch: Batch, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each image, good or not, by the columns of `predict_to_file`.

    Args:
        batch: The images.
        classes: Of the model.

    Returns:
        By column: texts, floats (see `shortest`), flags, and None for what there is
        none of.
    """
    names = class_columns(classes)
    good = zip(
        shortest(batch.probabilities),
        [classes[i] for i in batch.logits.argmax(1).tolist()],
        batch.notes,
        [None] * len(batch.notes) if batch.scores is None else shortest(batch.scores),
        strict=True,
    )
    rows = []
    for path, error in zip(batch.names, batch.errors, strict=True):
        row = dict.fromkeys(column_names(classes))
        row |= {"path": written_path(path), "notes": ""}
        if error is None:
            values, label, notes, score = next(good)
            row |= {"label": label, **dict(zip(names, values, strict=True))}
            row |= {"ood_score": score, "unlike_training": bool(notes)}
            row["notes"] = readable("; ".join(notes))
        else:
            row["error"] = readable(error)
        rows.append(row)
    return rows


def rows_of_prediction(prediction: Prediction) -> list[dict[str, Any]]:
    """The same rows of a prediction from files.

    Args:
        prediction: Whose `paths` are not None.
    """
    from lensequiv.inference._batches import Batch

    paths = prediction.paths or []
    batch = Batch(
        names=paths,
        errors=[None] * len(paths),
        logits=prediction.logits,
        probabilities=prediction.probabilities,
        notes=prediction.notes,
        scores=prediction.ood_score,
    )
    return rows_of(batch, prediction.classes)


class CsvRows:
    """Rows of predictions as CSV, and back.

    Args:
        classes: Of the model.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = class_columns(classes)
        self.columns = column_names(classes)

    def write(
        self, stream: IO[str], rows: Iterable[dict[str, Any]], *, heading: bool
    ) -> None:
        """Writes rows, after one of column names if `heading`."""
        writer = csv.DictWriter(stream, self.columns, lineterminator="\n")
        if heading:
            writer.writeheader()
        writer.writerows(rows)

    def read(self, stream: IO[str]) -> Iterable[dict[str, Any]]:
        """The rows that `write` wrote with a heading, of the same types."""
        flags = {"True": True, "False": False, "": None}
        numbers = (*self.classes, "ood_score")
        for row in csv.DictReader(stream):
            values: dict[str, Any] = dict(row)
            for name in numbers:
                values[name] = float(row[name]) if row[name] else None
            values["unlike_training"] = flags[row["unlike_training"]]
            for name in ("label", "error"):
                values[name] = row[name] or None
            yield values


def parquet_schema(classes: tuple[str, ...]) -> pyarrow.Schema:
    """The columns of `predict_to_file` in Parquet.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            "writing Parquet needs pyarrow: pip install 'lensequiv[parquet]'"
        ) from error
    text = pyarrow.string()
    return pyarrow.schema(
        [("path", text), ("label", text)]
        + [(name, pyarrow.float32()) for name in class_columns(classes)]
        + [("ood_score", pyarrow.float32()), ("unlike_training", pyarrow.bool_())]
        + [("notes", text), ("error", text)]
    )
