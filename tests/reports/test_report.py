import base64
import json
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from labelled_sets import CARD

from lensequiv.cli import main
from lensequiv.evaluation import evaluate
from lensequiv.pretrained import save_pretrained
from lensequiv.reports import check_report, table, write_report

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Open tags, links, pictures and text; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())


@pytest.fixture
def result(model, folder):
    model.weights_info = CARD
    return evaluate(model, folder, resamples=20, name="<b>mine</b> | 1")


def test_folder_gets_json_and_a_page_that_needs_nothing_else(result, tmp_path):
    files = write_report(result, tmp_path / "new" / "report")
    assert [f.name for f in files] == ["evaluation.json", "evaluation.html"]
    assert json.loads(files[0].read_text()) == json.loads(json.dumps(result.to_dict()))
    text = files[1].read_text()
    page = Page(text)
    assert "url(" not in text and "@import" not in text and "<script" not in text
    assert len(page.sources) == 3
    for source in page.sources:
        form, data = source.split(",", 1)
        assert form == "data:image/svg+xml;base64"
        root = ElementTree.fromstring(base64.b64decode(data))
        assert root.tag.endswith("svg") and len(list(root.iter())) > 100
    assert page.words[0] == "<b>mine</b> | 1 on modelF, seed 4"
    for evaluation in (result.as_is, result.rotated):
        for name, value in evaluation.values.items():
            assert f"{value:.4f}" in page.words
            low, high = evaluation.intervals[name]
            assert f"{low:.4f} to {high:.4f}" in page.words
    assert {"0.9000", "0.7000", "0.8000", "0.6000", "card says"} <= set(page.words)
    assert result.weights["sha256"] in page.words
    assert "15 (5 no, 5 sphere, 5 vort)" in page.words


def test_remarks_stand_before_the_scores(model, folder, tmp_path):
    result = evaluate(model, folder, limit=6, resamples=0, rotated=False)
    remark = "6 of the data set's 15 images were scored."
    words = Page(write_report(result, tmp_path / "r.html")[0].read_text()).words
    assert words.index(remark) < words.index("Scores")
    assert "95 % interval" not in words and "rotated" not in words
    assert remark in table(result)


def test_markdown_and_its_pictures(result, tmp_path):
    files = write_report(result, tmp_path / "r.md")
    text = files[0].read_text()
    for picture in files[1:]:
        assert f"({picture.name})" in text
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(files) == 4
    rows = [line for line in text.splitlines() if line.startswith("| ROC AUC, micro")]
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[1] == f"{result.as_is.auc_micro:.4f}" and cells[3] == "0.9000"
    assert "<b>mine</b> \\| 1 (c4" in text


def test_nothing_is_replaced(result, tmp_path):
    page = tmp_path / "evaluation.html"
    page.write_text("mine")
    with pytest.raises(FileExistsError, match=r"evaluation\.html exists"):
        write_report(result, tmp_path)
    assert page.read_text() == "mine" and not page.with_suffix(".json").exists()
    (tmp_path / "m-roc.png").touch()
    with pytest.raises(FileExistsError, match=r"m-roc\.png exists"):
        check_report(tmp_path / "m.md")
    with pytest.raises(ValueError, match=r"r\.pdf: expected a folder, or a \.json"):
        check_report(tmp_path / "r.pdf")


def test_folders_may_have_dots(tmp_path):
    (tmp_path / "run.final").mkdir()
    for name in ("run.final", "v1.2"):
        assert check_report(tmp_path / name)[0].parent == tmp_path / name


def test_pictures_need_matplotlib_but_json_does_not(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    check_report(tmp_path / "r.json")
    for name in ("r", "r.html", "r.md"):
        with pytest.raises(ImportError, match=r"lensequiv\[plots\]"):
            check_report(tmp_path / name)


def run(capsys, *argv):
    code = main(["evaluate", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command(capsys, model, folder, tmp_path):
    trained = {"trained_on": CARD["trained_on"]}
    weights = save_pretrained(model, tmp_path / "weights", info=trained)
    config = weights / "config.json"
    content = json.loads(config.read_text())
    del content["config_sha256"]  # it would notice
    config.write_text(json.dumps(content | {"info": CARD}))
    argv = (folder, "--weights", weights, "--resamples", 20)
    code, out, err = run(capsys, *argv, "--report", tmp_path / "r.json")
    assert code == 0 and f"written to {tmp_path / 'r.json'}" in err
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["weights"]["name"] == str(weights)
    line = next(line for line in out.splitlines() if line.startswith("accuracy"))
    cells = line.split()
    assert cells[1] == f"{found['as_is']['accuracy']:.4f}"
    assert cells[5] == f"{found['rotated']['accuracy']:.4f}"
    assert "card says" in out
    code, out, _ = run(capsys, *argv, "--no-rotated", "--limit", 6)
    assert code == 0 and "rotated" not in out and "6 of the data set's 15" in out


def test_mistakes_are_one_line_before_any_work(capsys, tmp_path, model, monkeypatch):
    weights = save_pretrained(model, tmp_path / "weights", info={})
    (tmp_path / "r.json").touch()

    def fail(*_, **__):
        raise AssertionError("worked before the mistake was found")

    monkeypatch.setattr("lensequiv.evaluation.evaluate", fail)
    argv = ("x", "--weights", weights, "--report", tmp_path / "r.json")
    code, _, err = run(capsys, *argv)
    assert code == 1 and "r.json exists" in err and len(err.splitlines()) == 1
    monkeypatch.undo()
    code, _, err = run(capsys, "nowhere", "--weights", weights)
    assert code == 1 and "nowhere" in err and len(err.splitlines()) == 1
