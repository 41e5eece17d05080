import csv
import json
import sys

import pytest

from lensequiv.evaluation import Perturbations, Perturbed
from lensequiv.reports import (
    check_perturbations,
    perturbations_table,
    write_perturbations,
)


def row(change, accuracy, auc, flagged):
    answers = {"no": 0.25, "sphere": 0.5, "vort": 0.25}
    return Perturbed(change, 12, accuracy, auc, flagged, answers)


@pytest.fixture
def result():
    rows = (row("none", 1.0, 1.0, 0.0), row("sky x 1.5", 0.75, 0.8125, 0.0625))
    weights = {"name": "<b> | 1", "model": "c8", "sha256": "5a", "recipe": "modelJ"}
    return Perturbations(
        rows, weights, "modelF", 7, "fp32", {"torch": "2.9"}, "2026-11-26T17:00:00"
    )


def test_table(result):
    lines = perturbations_table(result).splitlines()
    assert lines[0] == "<b> | 1 on changes of modelF, seed 7: 12 lenses a change"
    columns = "change accuracy micro AUC flagged answers no answers sphere answers vort"
    assert " ".join(lines[2].split()) == columns
    assert (
        " ".join(lines[3].split()) == "none 1.0000 1.0000 0.0000 0.2500 0.5000 0.2500"
    )
    assert " ".join(lines[4].split()).startswith("sky x 1.5 * 0.7500 0.8125 0.0625 ")
    assert lines[-1].startswith("* Within")


@pytest.mark.slow
def test_folder(result, tmp_path):
    files = write_perturbations(result, tmp_path / "new" / "report")
    names = ["perturbations.json", "perturbations.csv", "perturbations.html"]
    assert [file.name for file in files] == names
    assert json.loads(files[0].read_text()) == json.loads(json.dumps(result.to_dict()))
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    assert [r["change"] for r in rows] == ["none", "sky x 1.5"]
    assert [float(r["accuracy"]) for r in rows] == [1.0, 0.75]
    assert [float(r["answers.sphere"]) for r in rows] == [0.5, 0.5]
    assert [r["within"] for r in rows] == ["False", "True"]
    page = files[2].read_text()
    assert "&lt;b&gt; | 1 on changes of modelF" in page
    assert "<td>0.8125</td>" in page and page.count("data:image/svg+xml;base64,") == 1
    assert "c8, trained on modelJ" in page


def test_markdown_and_its_picture(result, tmp_path):
    text, picture = write_perturbations(result, tmp_path / "r.md")
    assert picture.name == "r-perturbations.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"({picture.name})" in text.read_text()
    assert "| sky x 1.5 * | 0.7500 | 0.8125 | 0.0625 |" in text.read_text()
    assert "<b> \\| 1 (c8" in text.read_text()


def test_what_is_refused(result, tmp_path, monkeypatch):
    (tmp_path / "perturbations.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"perturbations\.csv exists"):
        write_perturbations(result, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["perturbations.csv"]
    with pytest.raises(ValueError, match=r"r\.pdf: expected a folder, or a \.json"):
        check_perturbations(tmp_path / "r.pdf")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    check_perturbations(tmp_path / "r.csv")
    for name in ("r", "r.html", "r.md"):
        with pytest.raises(ImportError, match=r"lensequiv\[plots\]"):
            check_perturbations(tmp_path / name)
