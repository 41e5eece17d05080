"""Predictions written to a file while they are made."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lensequiv._files import write_atomically
from lensequiv.models import LensModel
from lensequiv.prediction import Batch, PathLike, batches, source_of

if TYPE_CHECKING:
    import pyarrow

__all__ = ["predict_to_file"]

_ABOUT = ("ood_score", "unlike_training", "notes", "error")
_ROW_GROUP = 8192  # rows that Parquet stores together


def predict_to_file(
    model: LensModel,
    x: PathLike | Sequence[PathLike],
    out: str | Path,
    batch_size: int = 64,
    *,
    hdu: int | str | None = None,
    progress: bool = True,
    workers: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    on_error: Literal["raise", "skip"] = "raise",
) -> Path:
    """Classifies files and writes a row for each: CSV, or Parquet (extra `parquet`).

    Columns: `path`, `label`, the probability of each class, `ood_score` (empty if the
    model has no `domain`), `unlike_training`, `notes` (in what respects an image is
    unlike the training images) and `error`. Memory does not grow with the
    number of images, but for the list of their paths. `out` appears when it is
    complete. Until then rows wait in a hidden folder beside it; a CSV goes on where a
    killed run ended when the same call is made again, Parquet starts anew.

    Args:
        model: Any lensequiv model.
        x: A path, a folder, or a list of these.
        out: File to make; the ending `.parquet` decides the format.
        batch_size: See `lensequiv.predict`.
        hdu: See `lensequiv.predict`.
        progress: Whether to show a progress bar.
        workers: See `lensequiv.predict`.
        precision: See `lensequiv.predict`.
        on_error: `"skip"` writes why a file could not be used into `error` and leaves
            its other columns empty; `"raise"` ends the run, which can go on later.

    Returns:
        `out`.

    Raises:
        FileExistsError: `out` exists, or what waits beside it belongs to another call.
        FileNotFoundError: A path does not exist.
        ImageError: A file cannot be used, and `on_error` is `"raise"`.
        ImportError: pyarrow is not installed.
        ValueError: An argument is out of range.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r}: expected 'raise' or 'skip'")
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists: choose a new name, or remove it first")
    source = source_of(x, hdu)

    def rows(start: int) -> Iterator[list[dict[str, Any]]]:
        options = (batch_size, start, progress, workers, precision, on_error)
        for batch in batches(model, source, *options):
            yield rows_of(batch, model.classes)

    folder = out.with_name(f".{out.name}.unfinished")
    request = request_of(model, source.names, {"precision": precision, "hdu": hdu})
    claim(folder / "request.json", out, request)
    if out.suffix == ".parquet":
        _write_parquet(folder / "rows", rows(0), model.classes)
    else:
        progress_file = folder / "progress.json"
        done = {"rows": 0, "bytes": 0}
        if progress_file.exists():
            done = json.loads(progress_file.read_text())
        with (folder / "rows").open("a", newline="", encoding="utf-8") as stream:
            stream.truncate(done["bytes"])
            columns = ["path", "label", *model.classes, *_ABOUT]
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            if done["bytes"] == 0:
                writer.writeheader()
            for batch in rows(done["rows"]):
                writer.writerows({k: _cell(v) for k, v in row.items()} for row in batch)
                stream.flush()
                done = {"rows": done["rows"] + len(batch), "bytes": stream.tell()}
                _replace_json(progress_file, done)
    (folder / "rows").rename(out)
    shutil.rmtree(folder)
    return out


def request_of(
    model: LensModel, names: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """What decides the rows: weights, preprocessing, classes, images, options.

    Args:
        model: Its weights enter as a SHA-256.
        names: What the images are called, in order; enter as a SHA-256, too.
        options: Taken as they are.

    Returns:
        The request, JSON-able if the options are.
    """
    weights = hashlib.sha256()
    domain = model.domain
    tensors = model.tensors() | ({} if domain is None else domain.tensors())
    for name, value in tensors.items():
        weights.update(name.encode())
        weights.update(value.detach().cpu().contiguous().numpy().tobytes())
    return {
        "weights": weights.hexdigest(),
        **model.spec.answers(),
        "images": hashlib.sha256("\0".join(names).encode()).hexdigest(),
        **options,
    }


def claim(record: Path, out: Path, request: Mapping[str, Any]) -> None:
    """Records a request, or finds the record that a killed run of it left.

    Args:
        record: The file; the folder around it is made and holds what was begun.
        out: What is to be made, for the message.
        request: As `request_of` returns.

    Raises:
        FileExistsError: The record is of another request.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    if record.exists():
        found = json.loads(record.read_text())
        different = [key for key in request if found.get(key) != request[key]]
        if different:
            raise FileExistsError(
                f"{record.parent} holds the unfinished {out.name} of a call with other "
                f"{', '.join(different)}: repeat that call, or remove the folder"
            )
    _replace_json(record, request)


def _replace_json(path: Path, content: Mapping[str, Any]) -> None:
    # After every batch: it has to survive a kill, not a power failure.
    write_atomically(path, json.dumps(content).encode(), sync=False)


def rows_of(batch: Batch, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each image, good or not, by the columns of `predict_to_file`."""
    good = zip(
        batch.probabilities.tolist(),
        [classes[i] for i in batch.logits.argmax(1).tolist()],
        batch.notes,
        [None] * len(batch.notes) if batch.scores is None else batch.scores.tolist(),
        strict=True,
    )
    rows = []
    for path, error in zip(batch.names, batch.errors, strict=True):
        values: Sequence[float | None] = [None] * len(classes)
        label: str | None = None
        notes: list[str] = []
        score: float | None = None
        if error is None:
            values, label, notes, score = next(good)
        rows.append(
            {
                "path": path,
                "label": label,
                **dict(zip(classes, values, strict=True)),
                "ood_score": score,
                "unlike_training": bool(notes) if error is None else None,
                "notes": "; ".join(notes),
                "error": error,
            }
        )
    return rows


def _cell(value: Any) -> Any:
    return f"{value:.7g}" if isinstance(value, float) else value


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
        + [(name, pyarrow.float32()) for name in classes]
        + [("ood_score", pyarrow.float32()), ("unlike_training", pyarrow.bool_())]
        + [("notes", text), ("error", text)]
    )


def _write_parquet(
    path: Path, rows: Iterator[list[dict[str, Any]]], classes: tuple[str, ...]
) -> None:
    schema = parquet_schema(classes)
    import pyarrow.parquet

    waiting: list[dict[str, Any]] = []
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in rows:
            waiting += batch
            if len(waiting) >= _ROW_GROUP:
                writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
