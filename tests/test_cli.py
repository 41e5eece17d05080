import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest

import lensequiv
from lensequiv.cli import main
from lensequiv.data import read_image, sample_paths


def run(capsys, *argv):
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    for name in (*lensequiv.list_models(), *lensequiv.list_pretrained()):
        assert f"  {name}" in out
    assert "singh2021-d8" not in run(capsys, "list", "c8*")[1]


def test_info(capsys):
    code, out, _ = run(capsys, "info", "c8-modelF")
    assert code == 0 and "micro-average ROC AUC" in out
    config = json.loads(run(capsys, "info", "c8-modelF", "--json")[1])
    assert config == lensequiv.pretrained_info("c8-modelF")


@pytest.mark.slow
def test_predict_forms_agree_with_the_library(capsys):
    sample = str(sample_paths("modelJ")[0])
    result = lensequiv.from_pretrained("c8-modelJ").predict(sample)
    argv = ("predict", sample, "--weights", "c8-modelJ", "--output")
    row = json.loads(run(capsys, *argv, "json")[1])[0]
    assert row["path"] == sample and row["label"] == result.labels[0]
    for name, value in zip(result.classes, result.probabilities[0], strict=True):
        assert row[name] == pytest.approx(float(value), abs=6e-5)
    from_csv = next(csv.DictReader(io.StringIO(run(capsys, *argv, "csv")[1])))
    assert {k: str(v) for k, v in row.items()} == from_csv
    table = run(capsys, *argv, "table")[1].splitlines()
    assert table[0].split() == ["path", "label", "no", "sphere", "vort", "ood_score"]
    assert table[1].split()[:2] == [sample, row["label"]]


def test_predict_folder_and_weights_folder(capsys, tmp_path):
    weights = lensequiv.from_pretrained("c8-modelF").save_pretrained(tmp_path / "w")
    folder = tmp_path / "images"
    folder.mkdir()
    for i, path in enumerate(sample_paths("modelF")[:3]):
        np.save(folder / f"{i}.npy", read_image(path))
    code, out, _ = run(
        capsys, "predict", folder, "--weights", weights, "--output", "json"
    )
    assert code == 0 and len(json.loads(out)) == 3


@pytest.mark.slow
def test_demo_and_plot(capsys, tmp_path):
    picture = tmp_path / "demo.png"
    code, out, _ = run(capsys, "predict", "--demo", "--plot", picture)
    n = len(sample_paths())
    assert code == 0 and f" of {n} simulated samples" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    from matplotlib.image import imread

    drawn = imread(picture)
    assert drawn.shape[0] > 300 and drawn[..., :3].std() > 0.05


def test_real_image_gives_a_warning_on_stderr(capsys, telescope_images):
    path = telescope_images[0]
    code, out, err = run(capsys, "predict", path, "--weights", "c8-modelF")
    assert code == 0 and str(path) in out
    assert out.splitlines()[1].endswith("unlike training")
    assert "warning: 1 of 1 images are unlike the training images" in err
    assert "centre" in err


def test_simulate_writes_what_predict_reads(capsys, tmp_path):
    out = tmp_path / "set"
    assert run(capsys, "simulate", "modelF", "--images", 6, "--seed", 5, out)[0] == 0
    code, text, _ = run(capsys, "predict", out, "--output", "json")
    assert code == 0 and len(json.loads(text)) == 6
    code, _, err = run(capsys, "simulate", "modelF", out, "--images", 6, "--seed", 5)
    assert code == 1 and f"{out} exists" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("predict", "nowhere.npy"), "nowhere.npy does not exist"),
        (("predict",), "either paths of images or --demo"),
        (("predict", "x.npy", "--demo"), "either paths of images or --demo"),
        (("info", "c8-modelf"), "did you mean 'c8-modelF'?"),
        (("info", "c8"), "did you mean 'c8-modelF' or 'c8-modelJ'?"),
        (("list", "c8x"), "nothing matches 'c8x'; did you mean 'c8'?"),
        (
            ("simulate", "model-J", "o", "--images", "3", "--seed", "0"),
            "unknown recipe 'model-J'; did you mean 'modelJ'?",
        ),
    ],
)
def test_mistakes_are_one_line_and_code_1(capsys, argv, message):
    code, _, err = run(capsys, *argv)
    assert code == 1 and message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("module", ["lensequiv", "lensequiv.cli"])
def test_installed_command(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == lensequiv.__version__


COMMANDS = [
    "list",
    "info",
    "download",
    "predict",
    "evaluate",
    "equivariance",
    "convert",
    "simulate",
]


def test_help_version_and_list_need_no_torch():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy']))\n"
        "from lensequiv.cli import main\n"
        f"for argv in [[], *([c] for c in {COMMANDS})]:\n"
        "    try: main([*argv, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "main(['list'])\n"
        "try: main(['--version'])\n"
        "except SystemExit as end: assert end.code == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("usage: lensequiv") == 1 + len(COMMANDS)
    assert "c8-modelF  test AUC 0.99" in done.stdout
    assert done.stdout.splitlines()[-1] == lensequiv.__version__


def test_info_of_a_folder_and_of_what_is_none(capsys, tmp_path):
    model = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (2,)))
    folder = model.save_pretrained(tmp_path / "mine")
    code, out, _ = run(capsys, "info", folder)
    assert code == 0 and f'from_pretrained("{folder}")' in out
    config = json.loads(run(capsys, "info", folder, "--json")[1])
    assert config["model"] == "c4" and config["options"]["stem_fields"] == 2
    code, _, err = run(capsys, "info", folder / "model.safetensors")
    assert code == 1 and "is a file; expected a bundled weight, a folder" in err
    code, _, err = run(capsys, "info", tmp_path)
    assert code == 1 and "config.json" in err


@pytest.mark.parametrize("name", ["x.txt", "x.fits", "set.npz", "a/b.h5.gz", "x.hdf"])
def test_simulate_makes_no_folder_of_a_files_name(capsys, tmp_path, name):
    out = tmp_path / name
    argv = ("simulate", "modelF", out, "--images", 3, "--seed", 0)
    code, _, err = run(capsys, *argv)
    assert code == 1 and list(tmp_path.iterdir()) == []
    assert f"ends in {out.suffix!r}: expected the name of a folder" in err
    assert ".h5 or .hdf5" in err and f"write {out}/" in err


@pytest.mark.parametrize("name", ["set-0.05", "x.txt/"])
def test_simulate_makes_folders_of_other_names(capsys, tmp_path, name):
    out = f"{tmp_path}/{name}"
    argv = ("simulate", "modelF", out, "--images", 3, "--seed", 0)
    assert run(capsys, *argv)[0] == 0
    assert (tmp_path / name / "manifest.json").is_file()


def test_predict_to_a_file(capsys, tmp_path):
    out = tmp_path / "rows.csv"
    paths = [str(p) for p in lensequiv.data.sample_paths("modelF")]
    (tmp_path / "bad.npy").write_bytes(b"no image")
    argv = ("predict", *paths, tmp_path / "bad.npy", "--to", out)
    code, _, err = run(capsys, *argv)
    assert code == 1
    assert "bad.npy" in err
    assert not out.exists()
    code, _, err = run(capsys, *argv, "--skip-errors", "--precision", "fp32")
    assert code == 0
    assert f"written to {out}" in err
    assert len(out.read_text().splitlines()) == len(paths) + 2
