"""Predictions as rows: dictionaries, CSV and Parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

import torch

from lensequiv.inference._batch import Batch
from lensequiv.inference._columns import (
    class_columns,
    column_names,
    readable,
    shortest,
    written_path,
)
from lensequiv.inference._prediction import Prediction
from lensequiv.inference._quantities import Quantities

if TYPE_CHECKING:
    import pyarrow

__all__ = ["CsvRows", "parquet_schema", "rows_of", "rows_of_prediction"]


def rows_of(batch: Batch, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each image, good or not, by the columns of `predict_to_file`.

    Args:
        batch: The images.
        classes: Of the model.

    Returns:
        By column: texts, floats (see `shortest`), flags, and None for what there is
        none of.
    """
    labels = [classes[i] for i in batch.logits.argmax(1).tolist()]
    told, measured = _measured(batch.quantities, labels)
    names = class_columns(classes, told)
    good = zip(
        shortest(batch.probabilities),
        labels,
        batch.notes,
        [None] * len(batch.notes) if batch.scores is None else shortest(batch.scores),
        measured,
        strict=True,
    )
    rows = []
    for path, error in zip(batch.names, batch.errors, strict=True):
        row = dict.fromkeys(column_names(classes, told))
        row |= {"path": written_path(path), "notes": ""}
        if error is None:
            values, label, notes, score, numbers = next(good)
            row |= {"label": label, **dict(zip(names, values, strict=True))}
            row |= dict(zip(told, numbers, strict=True))
            row |= {"ood_score": score, "unlike_training": bool(notes)}
            row["notes"] = readable("; ".join(notes))
        else:
            row["error"] = readable(error)
        rows.append(row)
    return rows


def _measured(
    quantities: Quantities | None, labels: list[str]
) -> tuple[list[str], list[list[float | None]]]:
    """The columns of quantities, and for each lens what stands in them."""
    if quantities is None:
        return [], [[] for _ in labels]
    columns = quantities.columns(labels)
    rows = shortest(torch.stack([*columns.values()], 1))
    known = [[None if math.isnan(value) else value for value in row] for row in rows]
    return [*columns], known


def rows_of_prediction(prediction: Prediction) -> list[dict[str, Any]]:
    """The same rows of a prediction from files.

    Args:
        prediction: Whose `paths` are not None.
    """
    paths = prediction.paths or []
    batch = Batch(
        names=paths,
        errors=[None] * len(paths),
        logits=prediction.logits,
        probabilities=prediction.probabilities,
        notes=prediction.notes,
        scores=prediction.ood_score,
        quantities=prediction.quantities,
    )
    return rows_of(batch, prediction.classes)


class CsvRows:
    """Rows of predictions as CSV, and back.

    Args:
        classes: Of the model.
        told: Columns of quantities.
    """

    def __init__(self, classes: Sequence[str], told: Sequence[str] = ()) -> None:
        self.classes, self.told = class_columns(classes, told), list(told)
        self.columns = column_names(classes, told)

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
        for row in csv.DictReader(stream):
            values: dict[str, Any] = dict(row)
            for name in (*self.classes, *self.told, "ood_score"):
                values[name] = float(row[name]) if row[name] else None
            values["unlike_training"] = flags[row["unlike_training"]]
            for name in ("label", "error"):
                values[name] = row[name] or None
            yield values


def parquet_schema(
    classes: tuple[str, ...], told: Sequence[str] = ()
) -> pyarrow.Schema:
    """The columns of `predict_to_file` in Parquet.

    Args:
        classes: Of the model.
        told: Columns of quantities.

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
        + [(name, pyarrow.float32()) for name in class_columns(classes, told)]
        + [(name, pyarrow.float32()) for name in told]
        + [("ood_score", pyarrow.float32()), ("unlike_training", pyarrow.bool_())]
        + [("notes", text), ("error", text)]
    )
