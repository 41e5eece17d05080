"""All bundled weights as repositories of the Hub, with the real client."""

import re

import pytest
import torch
import yaml
from hub_helpers import X
from hub_server import READ, WRITE
from huggingface_hub import ModelCard

import lensequiv
from lensequiv.cli import main
from lensequiv.data import sample_paths
from lensequiv.weights import publish_all

OWNER = "lens-group"
TWO = "c8-modelJ"  # a weight with two versions


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_weight_is_prepared_and_the_same_bytes_come_again(tmp_path, capsys):
    for name in ("first", "second"):
        arguments = ["publish-all", str(tmp_path / name), "--organisation", OWNER]
        assert main(arguments) == 0
    first = content(tmp_path / "first")
    assert first == content(tmp_path / "second")
    folders = {name.split("/")[0] for name in first}
    assert {folder.split("@")[0] for folder in folders} == set(
        lensequiv.list_pretrained()
    )
    assert {f"{TWO}@1", f"{TWO}@2"} <= folders
    assert str(tmp_path / "first" / f"{TWO}@2") in capsys.readouterr().out


def test_a_prepared_folder_loads_and_its_card_says_what_the_hub_shows(tmp_path):
    *_, folder = publish_all(tmp_path, OWNER, TWO)
    model = lensequiv.from_pretrained(folder)
    expected = lensequiv.from_pretrained(TWO)
    x = torch.rand(1, 1, 97, 97)
    assert torch.equal(model(x), expected(x))
    card = ModelCard.load(folder / "README.md")  # parses the scores strictly
    scores = expected.weights_info["metrics"]["test"]
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.library_name == "lensequiv" and card.data.license == "mit"
    assert card.data.datasets == [f"{OWNER}/lensequiv-modelJ"]
    shown = {result.metric_type: result for result in card.data.eval_results}
    assert card.data.metrics == list(shown)
    assert shown["roc_auc"].metric_value == scores["auc_micro"]
    assert shown["accuracy"].metric_value == scores["accuracy"]
    assert shown["roc_auc"].dataset_name == "modelJ, simulated, seed 118"


def test_scores_are_in_the_form_of_the_client(tmp_path):
    client = pytest.importorskip("huggingface_hub._eval_results")
    *_, folder = publish_all(tmp_path, OWNER, TWO)
    text = (folder / ".eval_results" / "lensequiv.yaml").read_text()
    entries = client.parse_eval_result_entries(yaml.safe_load(text))
    assert client.eval_result_entries_to_yaml(entries) == yaml.safe_load(text)
    assert {entry.dataset_id for entry in entries} == {f"{OWNER}/lensequiv-modelJ"}
    values = {entry.task_id: entry.value for entry in entries}
    scores = lensequiv.pretrained_info(TWO)["info"]["metrics"]["test"]
    assert values["roc_auc"] == scores["auc_micro"]


def test_push_makes_a_commit_and_a_tag_for_each_version_once(hub, tmp_path):
    folders = publish_all(tmp_path, OWNER, TWO, push=True, token=WRITE)
    repo = hub.repos[f"{OWNER}/{TWO}"]
    tags = [f"v{number}" for number in range(1, len(folders) + 1)]
    assert len(tags) > 1 and set(tags) == set(repo.refs) - {"main"}
    for folder, tag in zip(folders, tags, strict=True):
        files = repo.commits[repo.refs[tag]]
        assert files.items() >= content(folder).items()
    assert repo.refs["main"] == repo.refs[tags[-1]]
    before = dict(repo.refs)
    publish_all(tmp_path, OWNER, TWO, push=True, token=WRITE)
    assert repo.refs == before


@pytest.mark.slow
def test_the_card_of_a_pushed_weight_runs(hub, tmp_path, monkeypatch):
    publish_all(tmp_path, OWNER, "d8-modelJ", push=True, token=WRITE)
    repo = hub.repos[f"{OWNER}/d8-modelJ"]
    card = repo.commits[repo.refs["main"]]["README.md"].decode()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert f'from_pretrained("{OWNER}/d8-modelJ")' in code
    names = {}
    exec(code, names)
    assert len(names["result"]) == len(sample_paths())
    assert names["model"].origin.commit == repo.refs["main"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a b",), "organisation='a b'; expected the name"),
        ((OWNER, "nothing*"), r"no weight matches 'nothing\*'"),
    ],
)
def test_refusals(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        publish_all(tmp_path / "new", *arguments)
    assert not (tmp_path / "new").exists()


def test_no_permission(hub, tmp_path):
    with pytest.raises(lensequiv.HubError, match="status 403"):
        publish_all(tmp_path, OWNER, TWO, push=True, token=READ)


class TestNames:
    """A name alone: bundled, then the cache, then the publisher's repository."""

    def test_bundled_goes_first(self, hub, monkeypatch):
        monkeypatch.setenv("LENSEQUIV_HUB", OWNER)
        assert lensequiv.from_pretrained(TWO).origin.source == "bundled"
        assert lensequiv.from_pretrained(f"{TWO}@1").origin.source == "bundled"
        assert hub.requests == []

    def test_newest_and_version(self, hub, monkeypatch, tiny_files):
        monkeypatch.setenv("LENSEQUIV_HUB", OWNER)
        newest = lensequiv.from_pretrained("tiny")
        assert newest.origin.commit == hub.second
        first = lensequiv.from_pretrained("tiny@1")
        assert first.origin.commit == hub.first and first.origin.revision == "v1"
        with torch.no_grad():
            assert torch.equal(first(X), tiny_files[1][1])
        hub.requests.clear()
        again = lensequiv.from_pretrained("tiny@1")
        assert again.origin == first.origin and hub.requests == []

    def test_a_later_version_of_a_bundled_weight(self, hub, monkeypatch, tiny_files):
        monkeypatch.setenv("LENSEQUIV_HUB", OWNER)
        hub.repos[f"{OWNER}/{TWO}"] = repo = type(hub.repos[f"{OWNER}/tiny"])()
        repo.refs["v9"] = repo.commit(tiny_files[0][0])
        found = lensequiv.from_pretrained(f"{TWO}@9")
        assert found.origin.commit == repo.refs["v9"]

    def test_without_a_publisher_nothing_is_asked(self, hub, monkeypatch):
        monkeypatch.delenv("LENSEQUIV_HUB", raising=False)
        with pytest.raises(ValueError, match="'tiny' is neither"):
            lensequiv.from_pretrained("tiny")
        with pytest.raises(ValueError, match="has no version '9'"):
            lensequiv.from_pretrained(f"{TWO}@9")
        assert hub.requests == []

    def test_refusals(self, hub, monkeypatch):
        monkeypatch.setenv("LENSEQUIV_HUB", OWNER)
        with pytest.raises(lensequiv.HubError):
            lensequiv.from_pretrained("tiny@7")
        with pytest.raises(ValueError, match="revision= has nothing to add"):
            lensequiv.from_pretrained("tiny@1", revision="main")
        monkeypatch.setenv("LENSEQUIV_HUB", "../etc")
        with pytest.raises(ValueError, match=r"LENSEQUIV_HUB is '\.\./etc'"):
            lensequiv.from_pretrained("tiny")
