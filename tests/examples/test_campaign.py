"""A list of weights, trained against the clock."""

import itertools
import json
import sys
import tarfile
from types import SimpleNamespace

import campaign
import loop
import options
import pytest
import sets
import start
import torch
import train

import lensequiv

pytestmark = pytest.mark.usefixtures("fresh_accelerator", "small")

OPTIONS = json.dumps({"stem_fields": 2, "stages": [[2], [2], [2]]})


@pytest.fixture
def small(monkeypatch):
    """Few images, few lenses at a time, a clock that follows the steps."""
    monkeypatch.setattr("fresh_lenses.CHUNK", (24, 24))
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.1 * next(ticks))
    monkeypatch.setattr(train, "time", clock)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(campaign, "time", clock)
    monkeypatch.setattr(
        start,
        "simulated_set",
        lambda recipe, n, *more: sets.SimulatedSet(recipe, 24, *more),
    )


def entry(name, *more):
    arguments = ["c4", "--fresh", "modelF", "--options", OPTIONS, "--batch-size", "8"]
    arguments += ["--size", "33"]
    arguments += ["--norm-images", "8", "--evaluations", "2", "--precision", "fp32"]
    return {"name": name, "share": 1.0, "arguments": [*arguments, *more]}


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(entries, minutes, *more):
        (tmp_path / "list.json").write_text(json.dumps(entries))
        argv = ["campaign.py", "--minutes", minutes, "--out", tmp_path / "out"]
        argv += ["--list", tmp_path / "list.json", "--archive", tmp_path / "all.tar"]
        monkeypatch.setattr(sys, "argv", [str(a) for a in [*argv, *more]])
        campaign.main()
        return tmp_path / "out"

    return run


@pytest.mark.slow
def test_every_run_leaves_a_loadable_weight(run, tmp_path, capsys):
    entries = [entry("first"), entry("second", "--init", "{out}/first/best")]
    out = run(entries, 0.1)
    said = capsys.readouterr().out
    assert "images seen: validation AUC" in said
    with tarfile.open(tmp_path / "all.tar") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    for name in ("first", "second"):
        model = lensequiv.from_pretrained(tmp_path / "unpacked" / name)
        info = model.weights_info
        assert info["trained_on"]["train"]["fresh"] is True
        assert info["trained_on"]["val"] == {"images": 24, "seed": 2, "fresh": True}
        history = json.loads((out / name / "history.json").read_text())
        best = max(history, key=lambda entry: entry["auc_micro"])
        assert info["training"]["images_seen"] == 8 * best["step"]
    assert info["training"]["started_from"].endswith("first/best")
    # What is finished is not done again.
    run(entries, 0.1)
    assert "minutes" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("run", campaign.CAMPAIGN, ids=lambda run: run["name"])
def test_every_run_of_the_list_can_begin(run, tmp_path, monkeypatch):
    monkeypatch.setattr("start.VALIDATION", 48)
    monkeypatch.setattr("fresh_lenses.CHUNK", (24, 24))
    given = ["--steps", 2, "--batch-size", 24, "--no-test", "--out", tmp_path / "run"]
    # What begins with the result of another run has the options of its weights.
    begun = ["d8-modelJ@2" if "{out}" in text else text for text in run["arguments"]]
    args = options.arguments([*begun, *map(str, given)])
    training = train.Training(args, train.accelerator_of(args))
    side = training.model.input_size
    assert training.augmented(0, 1).images.shape == (24, 1, side, side)


@pytest.mark.slow
def test_a_campaign_goes_on_where_it_was_killed(run, die_at_first_checkpoint):
    steps = die_at_first_checkpoint()
    with pytest.raises(KeyboardInterrupt):
        run([entry("one")], 0.05)
    out = run([entry("one")], 0.05)
    assert steps[1] > steps[0]
    state = torch.load(out / "one" / "checkpoint.pt", weights_only=True)
    assert [e["step"] for e in state["history"]] == steps


@pytest.mark.slow
def test_one_that_fails_does_not_stop_the_others(run, capsys):
    entries = [entry("bad", "--lr", "1e11"), entry("good")]
    out = run(entries, 0.1)
    assert "bad failed: ValueError: the loss is nan" in capsys.readouterr().out
    assert (out / "good" / "best" / "config.json").is_file()


@pytest.mark.slow
def test_the_archive_keeps_within_its_limit(run, tmp_path, capsys):
    run([entry("one"), entry("two")], 0.1, "--archive-mb", "0.04")
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert "two/config.json" not in tar.getnames()
    assert (tmp_path / "all.tar").stat().st_size <= 40_000
    assert "has no room for two" in capsys.readouterr().out


def test_names_choose_among_the_list():
    first = campaign.CAMPAIGN[0]["name"]
    assert [r["name"] for r in campaign.chosen_runs(None, [first])] == [first]
    with pytest.raises(ValueError, match=f"'c9': expected some of .*{first}"):
        campaign.chosen_runs(None, ["c9"])


def test_the_default_list_is_made_of_arguments_that_exist(tmp_path):
    for run in campaign.CAMPAIGN:
        argv = [a.replace("{out}", "there") for a in run["arguments"]]
        args = options.arguments([*argv, "--out", str(tmp_path)])
        lensequiv.create_model(args.model, **args.options)


def test_a_list_of_another_form_is_refused(tmp_path):
    (tmp_path / "list.json").write_text('[{"name": "x"}]')
    with pytest.raises(ValueError, match="expected name, share"):
        campaign.chosen_runs(tmp_path / "list.json", [])
