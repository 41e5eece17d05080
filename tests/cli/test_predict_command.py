"""`lensequiv predict`: what it prints, refuses and leaves behind."""

import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import lensequiv
from lensequiv.cli import main
from lensequiv.data import sample_paths

SAMPLES = [str(p) for p in sample_paths("modelJ")]


def run(capsys, *argv):
    code = main([str(a) for a in argv])
    return code, *capsys.readouterr()


@pytest.fixture
def no_weights(monkeypatch):
    """What is refused is refused before weights are loaded."""

    def fail(*args, **kwargs):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(lensequiv, "from_pretrained", fail)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--to", "o.csv", "--plot", "p.png"), "--to writes a file.* out --plot"),
        (("--to", "o.csv", "--output", "json"), "--to writes a file.* out --output"),
        (("--to", "o.csv", "--output", "table"), "leave out --output"),
        (("--to", "o.txt"), r"o\.txt ends in '\.txt'; expected one of \.csv"),
        (("--to", "o"), "has no ending"),
        (("--skip-errors",), "--skip-errors: only with --to"),
        (("--restart",), "--restart: only with --to"),
        (("--plot", "nodir/p.png"), "nodir"),
        (("--plot", "p.docx"), r"p\.docx ends in '\.docx'"),
        (("--plot", "."), "ending|folder"),
    ],
)
def test_options_that_would_do_nothing_or_fail_later(
    capsys, no_weights, tmp_path, monkeypatch, argv, message
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "predict", SAMPLES[0], *argv)
    assert code == 1 and out == "" and len(err.splitlines()) == 1
    assert re.search(message, err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option",
    [
        ("--weights", "c8-modelF"),
        ("--to", "o.csv"),
        ("--plane", "images"),
        ("--hdu", "1"),
        ("--pixel-scale", "0.05"),
        ("--resample",),
    ],
)
def test_demo_refuses_what_it_would_not_use(capsys, no_weights, option):
    code, _, err = run(capsys, "predict", "--demo", *option)
    assert code == 1 and f"leave out {option[0]}" in err


@pytest.mark.slow
def test_screen_and_file_have_the_same_digits(capsys, tmp_path):
    out = tmp_path / "o.csv"
    assert run(capsys, "predict", *SAMPLES, "--to", out)[0] == 0
    with out.open(newline="") as stream:
        stored = list(csv.DictReader(stream))
    printed = run(capsys, "predict", *SAMPLES, "--output", "csv")[1]
    shown = list(csv.DictReader(io.StringIO(printed)))
    for row in stored:
        assert row.pop("error") == ""
    assert shown == stored
    result = lensequiv.from_pretrained("c8-modelJ").predict(SAMPLES)
    rows = json.loads(run(capsys, "predict", *SAMPLES, "--output", "json")[1])
    found = np.array([[row[c] for c in result.classes] for row in rows], np.float32)
    assert np.array_equal(found, result.probabilities)
    for row, text in zip(rows, stored, strict=True):
        assert {k: str(v) for k, v in row.items()} == text
    table = run(capsys, "predict", SAMPLES[0])[1].splitlines()
    assert table[1].split()[2] == f"{float(result.probabilities[0, 0]):.4f}"


def test_json_has_null_where_a_score_is_infinite(capsys, tmp_path):
    image = np.random.default_rng(0).normal(size=(150, 150))
    image[75, 75] = 1e20  # one hot pixel, far beyond any that was trained on
    np.save(tmp_path / "hot.npy", image.astype(np.float32))
    code, text, _ = run(capsys, "predict", tmp_path / "hot.npy", "--output", "json")
    assert code == 0

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    (row,) = json.loads(text, parse_constant=refuse)
    assert row["ood_score"] is None and row["unlike_training"] is True
    assert row["notes"]


@pytest.mark.slow
def test_pixel_scale_and_resampling(capsys):
    sample = SAMPLES[0]
    argv = ("predict", sample, "--output", "json", "--pixel-scale", "0.06")
    (row,) = json.loads(run(capsys, *argv)[1])
    assert "pixel scale 0.06 arcsec (training 0.05" in row["notes"]
    (resampled,) = json.loads(run(capsys, *argv, "--resample")[1])
    model = lensequiv.from_pretrained("c8-modelJ")
    result = model.predict(sample, pixel_scale=0.06, resample=True)
    assert np.float32(resampled["vort"]) == float(result.probabilities[0, 2])
    assert "pixel scale" not in resampled["notes"]
    code, _, err = run(capsys, "predict", sample, "--resample")
    assert code == 1 and "nothing says its pixel scale" in err


@pytest.mark.slow
def test_plot_shows_the_resampled_image(capsys, tmp_path):
    argv = ("predict", SAMPLES[0], "--pixel-scale", "0.06", "--resample")
    code, _, err = run(capsys, *argv, "--plot", tmp_path / "p.png")
    assert code == 0 and "drawn to" in err
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 elsewhere")
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_names_that_no_screen_can_show(capsys, tmp_path, form):
    for name in (b"caf\xe9.npy", b"two\nlines.npy"):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        np.save(path, np.load(SAMPLES[0]))
    code, out, _ = run(capsys, "predict", tmp_path, "--output", form)
    assert code == 0
    out.encode()  # as a terminal does
    assert f"file://{tmp_path}/caf%E9.npy" in out
    if form == "table":
        assert len(out.splitlines()) == 3 and r"two\nlines.npy" in out
    if form == "json":
        assert {row["path"] for row in json.loads(out)} >= {
            f"{tmp_path}/two\nlines.npy"
        }


@pytest.mark.slow
def test_going_on_and_beginning_anew(capsys, tmp_path):
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.load(SAMPLES[i]))
    (tmp_path / "2.npy").write_bytes(b"no image")
    paths = [tmp_path / f"{i}.npy" for i in range(4)]
    out = tmp_path / "o.csv"
    argv = ("predict", *paths, "--to", out, "--batch-size", 1)
    code, _, err = run(capsys, *argv)
    assert code == 1 and "2.npy" in err
    np.save(tmp_path / "2.npy", np.load(SAMPLES[2]))
    code, _, err = run(capsys, "predict", *paths[1:], "--to", out)
    assert code == 1 and "other images" in err and "--restart" in err
    assert run(capsys, "predict", *paths[1:], "--to", out, "--restart")[0] == 0
    assert len(out.read_text().splitlines()) == 4
    code, _, err = run(capsys, *argv, "--restart")
    assert code == 1 and f"{out} exists" in err


COMMAND = [sys.executable, "-m", "lensequiv.cli"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupted_in_the_middle(tmp_path):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.load(SAMPLES[i]))
    os.mkfifo(tmp_path / "3.npy")  # whoever opens it waits
    np.save(tmp_path / "4.npy", np.load(SAMPLES[4]))
    out = tmp_path / "o o.csv"
    paths = [str(tmp_path / f"{i}.npy") for i in range(5)]
    argv = ["predict", *paths, "--to", str(out), "--batch-size", "1"]
    started = subprocess.Popen(
        [*COMMAND, *argv, "--restart"], stderr=subprocess.PIPE, text=True
    )
    progress = tmp_path / ".o o.csv.unfinished" / "progress.json"
    for _ in range(600):
        if progress.exists() and json.loads(progress.read_text())["rows"] >= 2:
            break
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    time.sleep(0.2)
    writer = os.open(tmp_path / "3.npy", os.O_WRONLY | os.O_NONBLOCK)
    os.close(writer)  # lets the waiting thread go
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    line = err.splitlines()[-1]
    assert "Traceback" not in err
    assert line == (
        "lensequiv predict: interrupted; to go on where it ended: "
        + shlex.join(["lensequiv", *argv])
    )
    (tmp_path / "3.npy").unlink()
    np.save(tmp_path / "3.npy", np.load(SAMPLES[3]))
    assert main(shlex.split(line.split(": lensequiv ", 1)[1])) == 0
    with out.open() as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == paths


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_has_read_enough(tmp_path):
    started = subprocess.Popen(
        [*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    started.stdout.close()  # as `head` does, only sooner
    err = started.stderr.read()
    assert started.wait() == 141 and err == b""


def test_images_smaller_than_those_of_the_training(capsys, tmp_path):
    small = np.load(SAMPLES[2])[43:107, 43:107]
    np.save(tmp_path / "a.npy", small)
    code, _, err = run(capsys, "predict", tmp_path)
    assert code == 0 and "only 64 x 64 pixels" in err and "saw 65 x 65" in err
    argv = ("predict", tmp_path, "--input-size", 49, "--output", "json")
    code, out, _ = run(capsys, *argv)
    model = lensequiv.from_pretrained("c8-modelJ").set_input_size(49)
    with pytest.warns(UserWarning, match="unlike the training"):
        expected = model.predict(small)
    assert code == 0
    assert json.loads(out)[0]["vort"] == pytest.approx(
        float(expected[0].probabilities[2])
    )
    code, _, err = run(capsys, "predict", tmp_path, "--input-size", 64)
    assert code == 1 and "nearest: 49 or 65" in err


def test_without_a_name_the_advised_weight(capsys):
    """The one of the README, and of `lensequiv map`."""
    default = run(capsys, "predict", SAMPLES[3], "--output", "json")[1]
    named = ("--weights", "c8-modelJ", "--output", "json")
    assert default == run(capsys, "predict", SAMPLES[3], *named)[1]
