"""The scripts of `examples/`, reached from the command line."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lensequiv
from lensequiv.cli import main
from lensequiv.simulation import write_class_folders

ROOT = Path(__file__).parents[2]


def test_examples_are_copied(tmp_path, capsys):
    assert main(["examples", str(tmp_path / "mine")]) == 0
    for path in (ROOT / "examples").glob("*.py"):
        assert (tmp_path / "mine" / path.name).read_bytes() == path.read_bytes()
    assert "scripts in" in capsys.readouterr().out
    assert main(["examples", str(tmp_path / "mine")]) == 1
    assert "exists; expected the name of a new folder" in capsys.readouterr().err


def test_help_lists_them(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for name in ("finetune", "train", "survey", "examples"):
        assert f"\n    {name} " in out


@pytest.mark.slow
def test_bad_input_is_one_line(tmp_path, capsys):
    argv = ["finetune", "c8-modelF", "--data", str(tmp_path / "none")]
    assert main(argv) == 1
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("lensequiv finetune: ") and "there is no such folder" in err


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    for name in ("finetune", "tuning", "finish", "validate"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["finetune", "c8-modelF", "--data", "x"]) == 1
    assert "pip install 'lensequiv[train]'" in capsys.readouterr().err


@pytest.mark.slow
def test_finetune_as_a_command(tmp_path):
    """From sets as `lensequiv simulate` makes them to a weight that `predict` takes."""
    for seed, split in enumerate(("train", "val", "test")):
        folder = tmp_path / "mine" / split
        write_class_folders("modelF", 12, folder, seed=seed, progress=False)
    command = [sys.executable, "-m", "lensequiv", "finetune", "c4-modelF"]
    command += ["--data", "mine", "--steps", "4", "--evaluations", "1"]
    done = subprocess.run(
        [*command, "--batch-size", "6"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "12 training and 12 validation images; 12 test images" in done.stdout
    assert "linear check: " in done.stdout
    model = lensequiv.from_pretrained(tmp_path / "c4-modelF-mine")
    tuned = model.weights_info["fine_tuned"]
    assert model.pixel_scale == 0.05 and tuned["test"]["images"] == 12
    assert tuned["command"].startswith("lensequiv finetune c4-modelF --data mine")
    assert model.predict(tmp_path / "mine" / "test").logits.shape == (12, 3)


@pytest.mark.slow
def test_a_wheel_holds_them(tmp_path):
    """Built from the sdist, as `pip install` does where there is no wheel."""
    pytest.importorskip("build")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        for path in (ROOT / "examples").glob("*.py"):
            held = file.read(f"lensequiv/_examples/{path.name}")
            assert held == path.read_bytes()
