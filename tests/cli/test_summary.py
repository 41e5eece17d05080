"""The last line of `predict` and `simulate`, which goes to stderr."""

import json
import re

import numpy as np
import pytest

from lensequiv.cli import main
from lensequiv.cli._summary import Stopwatch, summary
from lensequiv.data import sample_paths


def row(label, unlike=False, error=None):
    return {"label": label, "unlike_training": unlike, "error": error}


def test_what_is_counted():
    rows = [row("a"), row("b", True), row("a"), row(None, None, "x.npy is empty")]
    assert summary(rows) == (
        "4 images: 2 a, 1 b; 1 unlike the training images; 1 skipped",
        4,
    )
    assert summary([row("a", "True")])[0].startswith("1 image: 1 a; 1 unlike")
    many = [row(f"class{i}") for i in range(10)]
    assert "1 class7, 2 more classes; 0 unlike" in summary(many)[0]


def test_the_rate_is_told_of_many_images_alone(capsys, monkeypatch):
    """One image takes as long as the start of Python and torch."""
    clock = iter([0.0, 8.0, 10.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    watch = Stopwatch()
    watch.tell("1 image", 1)
    watch.tell("500 images", 500)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["1 image; 8.0 s", "500 images; 10.0 s, 50 images a second"]


def test_predict_ends_with_it(capsys):
    paths = [str(p) for p in sample_paths("modelF")[:3]]
    assert main(["predict", *paths, "--output", "json"]) == 0
    out, err = capsys.readouterr()
    labels = [one["label"] for one in json.loads(out)]
    last = err.splitlines()[-1]
    assert re.fullmatch(
        r"3 images: .*; 0 unlike the training images; 0 skipped; \d+\.\d s.*", last
    )
    assert all(f"{labels.count(one)} {one}" in last for one in labels)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_with_a_file_skipped_ones_are_counted(tmp_path, capsys, ending):
    pytest.importorskip("pyarrow")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).normal(size=(129, 129)))
    argv = ["predict", str(sample_paths("modelF")[0]), str(tmp_path), "--skip-errors"]
    assert main([*argv, "--to", str(tmp_path / f"out.{ending}")]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("3 images: ")
    assert "; 1 unlike the training images; 1 skipped; " in last


@pytest.mark.slow
def test_simulate_ends_with_it(tmp_path, capsys):
    argv = ["simulate", "modelF", str(tmp_path / "x"), "--images", "3", "--seed", "1"]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert out == f"3 images in {tmp_path / 'x'}\n"
    assert err.splitlines()[-1].startswith("modelF, equal parts of no, sphere, vort; ")
