"""Predictions written to a file while they are made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from lensequiv import files
from lensequiv.inference._batches import batches
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._options import Options, Precision
from lensequiv.inference._quantities import quantity_columns
from lensequiv.inference._resuming import Done, record_request, request_of
from lensequiv.inference._rows import CsvRows, parquet_schema, rows_of
from lensequiv.inference._source import PathLike, Source, source_of

__all__ = ["check_output", "predict_to_file", "unfinished_folder"]

_ROW_GROUP = 8192  # rows that Parquet stores together
_ADVICE = "begin anew with restart=True (--restart)"


def unfinished_folder(out: Path) -> Path:
    """The hidden folder beside `out` in which rows wait until all are there."""
    return out.with_name(f".{out.name}.unfinished")


def check_output(out: str | Path) -> Path:
    """Makes sure that `predict_to_file` can write a file, before any work.

    Args:
        out: See `predict_to_file`.

    Returns:
        `out`.

    Raises:
        FileExistsError: It exists.
        ImportError: It is to be Parquet, and pyarrow is not installed.
        OSError: It cannot be written there; see `lensequiv.files.check_output`.
        ValueError: It ends in neither `.csv` nor `.parquet`.
    """
    out = files.check_output(
        out, suffixes=(".csv", ".parquet"), overwrite=False, parents=True
    )
    if out.suffix.lower() == ".parquet":
        parquet_schema(())
    return out


def predict_to_file(
    model: Classifier,
    x: PathLike | Sequence[PathLike],
    out: str | Path,
    batch_size: int = 64,
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
    pixel_scale: float | None = None,
    resample: bool = False,
    progress: bool = True,
    workers: int | None = None,
    precision: Precision = "fp32",
    device: str | torch.device | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    restart: bool = False,
    quantities: bool = False,
) -> Path:
    """Classifies files and writes a row for each: CSV, or Parquet (extra `parquet`).

    Columns: `path`, `label`, the probability of each class, quantities if they are
    wanted (median and intervals, in the unit that the name says; empty where a quantity
    is not meant for the label), `ood_score` (empty if the model has no `domain`),
    `unlike_training`, `notes` (in what respects an image is
    unlike the training images) and `error`. Numbers have the digits that bring the
    float32 values back to the last bit. The column of a class that is called like one
    of the others is `p(NAME)`. A path that is not UTF-8 is written as the `file:` URI
    of the absolute path, whose percent signs keep its bytes.

    Memory does not grow with the number of images, but for the list of their paths.
    `out` appears when it is complete. Until then rows wait in a hidden folder beside
    it, and the same call goes on where a killed or failed run ended. In between,
    images may be added to or removed from the part of the list that was not reached,
    and `batch_size`, `workers`, `device` and `on_error` may change; with other weights,
    options or images before that place the call is refused.

    Args:
        model: Any lensequiv model.
        x: A path, a folder, or a list of these.
        out: File to make, ending in `.csv` or `.parquet`.
        batch_size: See `lensequiv.predict`.
        plane: See `lensequiv.predict`.
        hdu: See `lensequiv.predict`.
        pixel_scale: See `lensequiv.predict`.
        resample: See `lensequiv.predict`.
        progress: Whether to show a progress bar.
        workers: See `lensequiv.predict`.
        precision: See `lensequiv.predict`.
        device: See `lensequiv.predict`.
        on_error: `"skip"` writes why a file could not be used into `error` and leaves
            its other columns empty; `"raise"` ends the run, which can go on later.
        restart: Whether to begin anew where an unfinished run of any call is found.
            `out` itself is never replaced.
        quantities: See `lensequiv.predict`.

    Returns:
        `out`.

    Raises:
        FileExistsError: `out` exists; what waits beside it belongs to another call; or
            another process is writing it.
        FileNotFoundError: A path does not exist.
        ImageError: A file cannot be used, and `on_error` is `"raise"`.
        ImportError: pyarrow is not installed.
        MemoryError: See `lensequiv.predict`.
        OSError: `out` cannot be written there.
        ValueError: An argument is out of range, or `out` has another ending.
    """
    options = Options(
        batch_size=batch_size,
        progress=progress,
        workers=workers,
        precision=precision,
        pixel_scale=pixel_scale,
        resample=resample,
        on_error=on_error,
        device=device,
        quantities=quantities,
    )
    out = check_output(out)
    source = source_of(x, plane, hdu)
    if source.paths is None:
        raise ValueError("x is an array; expected paths, which the rows are named by")
    request = request_of(
        model,
        {
            "precision": precision,
            "plane": hdu if plane is None else plane,
            "pixel_scale": pixel_scale,
            "resample": resample,
            # None where they are not, as in runs of versions that told none.
            "with_quantities": quantities or None,
        },
    )
    told: list[str] = []
    if quantities:
        model.check_quantities()
        assert model.spec.quantities is not None
        told = quantity_columns(model.spec.quantities.names)
    table = CsvRows(model.classes, told)
    folder = unfinished_folder(out)
    with _held(folder, out):
        if restart:
            _clear(folder)
        record_request(folder / "request.json", out, request, _ADVICE)
        try:
            done = Done(folder / "progress.json", source.names)
        except FileExistsError as error:
            raise FileExistsError(f"{error}: repeat that call, or {_ADVICE}") from None
        ready = folder / "rows"
        _write_rows(ready, done, table, model, source, options)
        if out.suffix.lower() == ".parquet":
            ready = _as_parquet(ready, table, parquet_schema(model.classes, told))
        ready.rename(out)
        (folder / "progress.json").unlink()  # with it, the rest of the folder goes
    return out


def _write_rows(
    path: Path,
    done: Done,
    table: CsvRows,
    model: Classifier,
    source: Source,
    options: Options,
) -> None:
    """Classifies what is not done yet, and writes down every batch."""
    with path.open("a", newline="", encoding="utf-8") as stream:
        stream.truncate(done.bytes)
        if done.bytes == 0:
            table.write(stream, [], heading=True)
        for batch in batches(model, source, options, start=done.rows):
            rows = rows_of(batch, model.classes)
            table.write(stream, rows, heading=False)
            stream.flush()
            done.add(len(rows), stream.tell())


@contextmanager
def _held(folder: Path, out: Path) -> Iterator[None]:
    """Makes the folder, keeps other processes out, removes it if no rows are in it.

    Raises:
        FileExistsError: One is.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    useless = False
    try:
        with FileLock(folder / ".lock", timeout=0):
            try:
                yield
            finally:
                useless = not (folder / "progress.json").exists()
                if useless:
                    _clear(folder)
    except Timeout as error:
        raise FileExistsError(f"another process is writing {out}") from error
    finally:
        if useless:
            shutil.rmtree(folder, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Removes the files of an unfinished run, but for the lock."""
    for file in folder.iterdir():
        if file.name != ".lock":
            file.unlink()


def _as_parquet(path: Path, table: CsvRows, schema: Any) -> Path:
    """Writes the rows of a CSV file into a Parquet file beside it."""
    import pyarrow.parquet

    made = path.with_suffix(".parquet")
    with (
        path.open(newline="", encoding="utf-8") as stream,
        pyarrow.parquet.ParquetWriter(made, schema) as writer,
    ):
        rows = iter(table.read(stream))
        while group := list(islice(rows, _ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))
    return made
