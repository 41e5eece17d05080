"""Predictions batch by batch and into files: equal to `predict`, whole or absent."""

import copy
import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow.parquet
import pytest
import torch

import lensequiv
from lensequiv.data import ImageError, sample_paths
from lensequiv.inference import _source, _to_file
from lensequiv.models import InputSizes, LensNetwork

PATHS = [str(p) for p in sample_paths()]
COLUMNS = ["path", "label", "no", "sphere", "vort"]
COLUMNS += ["ood_score", "unlike_training", "notes", "error"]


@pytest.fixture(scope="module")
def model():
    return lensequiv.from_pretrained("c8-modelF")


@pytest.fixture
def folder(tmp_path):
    """Ten images under names that sort, and their paths."""
    paths = []
    for i, path in enumerate(PATHS[:10]):
        paths.append(tmp_path / "in" / f"{i}.npy")
        paths[-1].parent.mkdir(exist_ok=True)
        np.save(paths[-1], np.load(path))
    return paths


def read_csv(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


# Batch by batch


@pytest.mark.slow
def test_iter_predict_is_predict(model):
    whole = model.predict(PATHS)
    parts = list(lensequiv.iter_predict(model, PATHS, batch_size=5))
    assert [len(p) for p in parts] == [5, 5, 2]
    torch.testing.assert_close(torch.cat([p.logits for p in parts]), whole.logits)
    assert [x for p in parts for x in p.paths] == PATHS
    assert [x for p in parts for x in p.labels] == whole.labels
    rest = list(lensequiv.iter_predict(model, PATHS, batch_size=5, start=7))
    torch.testing.assert_close(rest[0].logits, whole.logits[7:])


def test_reading_stays_ahead_but_bounded(model, monkeypatch):
    read = []

    def counting(path, **kwargs):
        read.append(path)
        return lensequiv.data.read_stored(PATHS[0])

    monkeypatch.setattr(_source, "read_stored", counting)
    many = PATHS * 20
    batches = lensequiv.iter_predict(model, many, batch_size=4)
    assert read == []
    next(batches)
    assert len(read) <= 12  # this batch and two more
    next(batches)
    assert len(read) <= 16
    batches.close()
    assert len(read) < 20
    assert torch.get_num_threads() >= 1


def test_workers_do_not_matter(model):
    one = model.predict(PATHS, workers=1)
    assert torch.equal(one.logits, model.predict(PATHS, workers=3).logits)
    with pytest.raises(ValueError, match="workers=0"):
        model.predict(PATHS, workers=0)


@pytest.mark.slow
def test_threads_setting_is_left_alone(model):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        model.predict(PATHS[:2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_bf16_is_close_and_asked_for(model):
    exact, fast = model.predict(PATHS), model.predict(PATHS, precision="bf16")
    assert not torch.equal(exact.logits, fast.logits)
    assert (exact.probabilities - fast.probabilities).abs().max() < 0.1
    assert exact.labels == fast.labels
    with pytest.raises(ValueError, match="precision='int8'"):
        model.predict(PATHS, precision="int8")


class Other(LensNetwork):
    """A model without a plain form."""

    def __init__(self):
        super().__init__(1, 3, InputSizes(129, 1, 129))
        self.head = torch.nn.Linear(129, 3)
        self.norm = torch.nn.BatchNorm2d(1)

    def _features(self, x):
        return self.norm(x)

    def _pool(self, features):
        return features.mean((1, 2))

    def __deepcopy__(self, memo):
        copy = Other()
        copy.load_state_dict(self.state_dict())
        return copy


def test_models_without_a_plain_form():
    model = Other().train()
    found = model.predict(PATHS)
    assert model.training
    model.eval()
    torch.testing.assert_close(found.logits, model.predict(PATHS).logits)
    assert int(model.norm.num_batches_tracked) == 0
    with pytest.raises(NotImplementedError):
        model.predict(PATHS, precision="bf16")


# Into files


def test_csv(model, folder, tmp_path):
    out = lensequiv.predict_to_file(
        model, tmp_path / "in", tmp_path / "deep" / "out.csv", 4, progress=False
    )
    rows, expected = read_csv(out), model.predict(folder)
    assert list(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == [str(p) for p in folder]
    assert [row["label"] for row in rows] == expected.labels
    found = [[float(row[c]) for c in model.classes] for row in rows]
    np.testing.assert_allclose(found, expected.probabilities, rtol=1e-5, atol=1e-6)
    assert [row["notes"] for row in rows] == ["; ".join(n) for n in expected.notes]
    scores = [float(row["ood_score"]) for row in rows]
    np.testing.assert_allclose(scores, expected.ood_score, rtol=1e-4)
    flags = [row["unlike_training"] == "True" for row in rows]
    assert flags == expected.unlike_training.tolist()
    assert all(row["error"] == "" for row in rows)
    assert [p.name for p in out.parent.iterdir()] == ["out.csv"]


def test_parquet(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(_to_file, "_ROW_GROUP", 6)
    out = lensequiv.predict_to_file(
        model, folder, tmp_path / "out.parquet", 4, progress=False
    )
    table = pyarrow.parquet.read_table(out)
    assert table.column_names == COLUMNS
    assert pyarrow.parquet.ParquetFile(out).num_row_groups == 2
    expected = model.predict(folder)
    assert table["label"].to_pylist() == expected.labels
    np.testing.assert_allclose(
        table["vort"].to_numpy(), expected.probabilities[:, 2], rtol=1e-5, atol=1e-6
    )
    assert table["error"].to_pylist() == [None] * 10
    np.testing.assert_allclose(
        table["ood_score"].to_numpy(), expected.ood_score, rtol=1e-4
    )
    assert table["unlike_training"].to_pylist() == expected.unlike_training.tolist()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_damaged_files_can_be_skipped(model, folder, tmp_path, ending):
    folder[3].write_bytes(b"no image")
    out = tmp_path / f"out.{ending}"
    with pytest.raises(ImageError, match=r"3\.npy"):
        lensequiv.predict_to_file(model, folder, out, 4, progress=False)
    assert not out.exists()
    lensequiv.predict_to_file(model, folder, out, 4, progress=False, on_error="skip")
    rows = (
        read_csv(out)
        if ending == "csv"
        else pyarrow.parquet.read_table(out).to_pylist()
    )
    assert len(rows) == 10
    assert "3.npy is not an NPY file" in rows[3]["error"]
    for column in ("label", "vort", "ood_score", "unlike_training"):
        assert rows[3][column] in ("", None)
    assert sum(bool(row["error"]) for row in rows) == 1
    expected = model.predict(folder[4:])
    assert [row["label"] for row in rows[4:]] == expected.labels


def test_all_files_damaged(model, folder, tmp_path):
    for path in folder:
        path.write_bytes(b"no image")
    out = tmp_path / "out.csv"
    lensequiv.predict_to_file(model, folder, out, 4, progress=False, on_error="skip")
    assert all(row["error"] for row in read_csv(out))


# One process loads the network; its children classify, and die after so many batches.
_DYING = """
import os, sys
import lensequiv
from lensequiv.inference import _to_file as streaming
rows, made = streaming.rows_of, []
def dying(*args):
    if len(made) == after:
        os._exit(9)
    made.append(1)
    return rows(*args)
streaming.rows_of = dying
model = lensequiv.from_pretrained("c8-modelF")
for after in (0, 1, 2):
    if (child := os.fork()) == 0:
        lensequiv.predict_to_file(model, sys.argv[1], f"{sys.argv[2]}/{after}.csv", 4)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
"""


@pytest.mark.slow
def test_killed_and_started_again(model, folder, tmp_path):
    expected = lensequiv.predict_to_file(
        model, folder, tmp_path / "whole.csv", 4, progress=False
    )
    images, dead = tmp_path / "in", tmp_path / "dead"
    dead.mkdir()
    subprocess.run([sys.executable, "-c", _DYING, images, dead], check=True)
    for after in (0, 1, 2):
        out = dead / f"{after}.csv"
        assert not out.exists()
        finishes(model, images, out, after)
        assert out.read_bytes() == expected.read_bytes()


def finishes(model, images, out, after):
    """What a dead process has classified is not classified again."""
    waiting = out.with_name(f".{out.name}.unfinished")
    with (waiting / "rows").open("a") as stream:
        stream.write("in/8.npy,half a r")  # as a kill within a write leaves it
    read = []

    def counting(path, **kwargs):
        read.append(path)
        return lensequiv.data.read_stored(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_source, "read_stored", counting)
        lensequiv.predict_to_file(model, images, out, 4, progress=False)
    assert len(read) == 10 - 4 * after
    assert not waiting.exists()


def test_another_call_does_not_mix_in(model, folder, tmp_path):
    out = tmp_path / "out.csv"
    folder[9].write_bytes(b"no image")
    with pytest.raises(ImageError):
        lensequiv.predict_to_file(model, folder, out, 4, progress=False)
    other = lensequiv.from_pretrained("c8-modelJ")
    stricter = copy.deepcopy(model)
    stricter.domain = dataclasses.replace(model.domain, threshold=0.5)
    for arguments, what in (
        ((other, folder), "weights"),
        ((model, folder[1:]), "images"),
        ((stricter, folder), "domain"),
    ):
        with pytest.raises(
            FileExistsError, match=rf"with other {what}.*begin anew with restart"
        ):
            lensequiv.predict_to_file(*arguments, out, 4, progress=False)
    np.save(folder[9], np.load(PATHS[9]))
    lensequiv.predict_to_file(model, folder, out, 4, progress=False)
    assert len(read_csv(out)) == 10


def test_bad_arguments(model, folder, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.csv exists"):
        lensequiv.predict_to_file(model, folder, tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"
    with pytest.raises(ValueError, match="on_error='ignore'"):
        lensequiv.predict_to_file(
            model, folder, tmp_path / "out.csv", on_error="ignore"
        )
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lensequiv.predict_to_file(model, "nowhere", tmp_path / "out.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "mine.csv"]


# Going on


def rows_in(path):
    if path.suffix == ".csv":
        return [row["path"] for row in read_csv(path)]
    return pyarrow.parquet.read_table(path)["path"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_going_on_after_the_bad_file_was_removed(model, folder, tmp_path, ending):
    out = tmp_path / f"out.{ending}"
    folder[6].write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"6\.npy"):
        lensequiv.predict_to_file(model, tmp_path / "in", out, 2, progress=False)
    folder[6].unlink()
    np.save(tmp_path / "in" / "99.npy", np.load(PATHS[0]))  # and one was added
    lensequiv.predict_to_file(model, tmp_path / "in", out, 3, progress=False)
    kept = [*folder[:6], *folder[7:], tmp_path / "in" / "99.npy"]
    assert rows_in(out) == [str(path) for path in kept]
    fresh = lensequiv.predict_to_file(
        model, kept, tmp_path / f"fresh.{ending}", 2, progress=False
    )
    assert rows_in(fresh) == rows_in(out)


@pytest.mark.slow
def test_going_on_with_skipping(model, folder, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    folder[6].write_bytes(b"no image")
    with pytest.raises(ImageError):
        lensequiv.predict_to_file(model, folder, out, 2, progress=False)
    read = []

    def counting(path, **kwargs):
        read.append(path)
        return lensequiv.data.read_stored(path)

    monkeypatch.setattr(_source, "read_stored", counting)
    lensequiv.predict_to_file(model, folder, out, 2, progress=False, on_error="skip")
    assert len(read) == 4  # the first six were done
    rows = read_csv(out)
    assert [row["path"] for row in rows] == [str(path) for path in folder]
    assert [bool(row["error"]) for row in rows] == [i == 6 for i in range(10)]


@pytest.mark.slow
def test_rows_of_files_that_are_gone_are_not_kept_silently(model, folder, tmp_path):
    out = tmp_path / "out.csv"
    folder[6].write_bytes(b"no image")
    with pytest.raises(ImageError):
        lensequiv.predict_to_file(model, tmp_path / "in", out, 2, progress=False)
    folder[1].unlink()
    folder[6].unlink()
    message = r"6 rows of a call with other images .*begin anew with restart=True"
    with pytest.raises(FileExistsError, match=message):
        lensequiv.predict_to_file(model, tmp_path / "in", out, 2, progress=False)
    lensequiv.predict_to_file(
        model, tmp_path / "in", out, 2, progress=False, restart=True
    )
    left = [str(path) for i, path in enumerate(folder) if i not in (1, 6)]
    assert rows_in(out) == left
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.csv"]


def test_a_first_batch_that_fails_leaves_nothing(model, folder, tmp_path):
    folder[0].write_bytes(b"no image")
    with pytest.raises(ImageError):
        lensequiv.predict_to_file(model, folder, tmp_path / "o.csv", 4, progress=False)
    with pytest.raises(ValueError, match="pixel scale"):
        lensequiv.predict_to_file(
            model, folder[1:], tmp_path / "o.csv", 4, progress=False, resample=True
        )
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_two_processes_do_not_write_the_same_file(model, folder, tmp_path):
    from filelock import FileLock

    waiting = tmp_path / ".out.csv.unfinished"
    waiting.mkdir()
    with (
        FileLock(waiting / ".lock"),
        pytest.raises(FileExistsError, match=r"another process is writing .*out\.csv"),
    ):
        lensequiv.predict_to_file(model, folder, tmp_path / "out.csv", progress=False)


# What is written


def test_numbers_come_back_to_the_last_bit(model, folder, tmp_path):
    result = model.predict(folder, 4)
    out = lensequiv.predict_to_file(
        model, folder, tmp_path / "o.csv", 4, progress=False
    )
    rows = read_csv(out)
    found = np.array([[row[c] for c in model.classes] for row in rows], np.float32)
    assert np.array_equal(found, result.probabilities)
    scores = np.array([row["ood_score"] for row in rows], np.float32)
    assert np.array_equal(scores, result.ood_score)
    table = lensequiv.predict_to_file(
        model, folder, tmp_path / "o.parquet", 4, progress=False
    )
    frame = pyarrow.parquet.read_table(table).to_pandas()
    expected = result.to_pandas()
    for name in COLUMNS:  # pandas has NaN where Parquet has null
        found = frame[name].astype(object).where(frame[name].notna(), None)
        assert found.tolist() == expected[name].tolist(), name


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 elsewhere")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_names_that_are_not_utf8(model, tmp_path, ending):
    names = [b"plain.npy", b"caf\xe9.npy", b"caf%E9.npy", "café.npy".encode()]
    paths = [os.fsdecode(os.fsencode(tmp_path) + b"/" + name) for name in names]
    for path in paths:
        np.save(path, np.load(PATHS[0]))
    Path(paths[1]).write_bytes(b"no image")  # its name stands in a message, too
    out = tmp_path / f"out.{ending}"
    lensequiv.predict_to_file(model, paths, out, progress=False, on_error="skip")
    found = rows_in(out)
    assert found[0] == paths[0] and found[2:] == paths[2:]
    assert found[1] == f"file://{tmp_path}/caf%E9.npy"
    back = os.fsdecode(unquote_to_bytes(found[1].removeprefix("file://")))
    assert back == paths[1]
    result = model.predict(paths[2:])
    assert result.paths == paths[2:] and len(result.to_pandas()) == 2


def test_endings_and_places_are_checked_first(model, folder, tmp_path):
    (tmp_path / "file").write_text("")
    for out, error, message in (
        ("o.txt", ValueError, r"o\.txt ends in '\.txt'; expected one of \.csv, \.parq"),
        ("o", ValueError, r"has no ending"),
        ("o.csv.gz", ValueError, r"\.gz"),
        ("file/o.csv", NotADirectoryError, "file"),
    ):
        with pytest.raises(error, match=message):
            lensequiv.predict_to_file(model, folder, tmp_path / out, progress=False)
    with pytest.raises(ValueError, match="x is an array; expected paths"):
        lensequiv.predict_to_file(model, np.eye(9), tmp_path / "o.csv")
    upper = lensequiv.predict_to_file(
        model, folder[:1], tmp_path / "O.PARQUET", progress=False
    )
    assert len(pyarrow.parquet.read_table(upper)) == 1
