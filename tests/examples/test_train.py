"""The reference loop, on a few images."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lensequiv
from lensequiv.simulation import write_class_folders
from lensequiv.transforms import RandomPose

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def train():
    path = ROOT / "examples" / "train.py"
    spec = importlib.util.spec_from_file_location("train_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, (split, n) in enumerate({"train": 48, "val": 12, "test": 12}.items()):
        write_class_folders("modelF", n, folder / split, seed=seed, progress=False)
    return folder


@pytest.fixture
def run(train, data, monkeypatch):
    def run(out, *options):
        argv = ["train.py", "c4", "--data", data, "--out", out, "--steps", 6]
        argv += ["--batch-size", 8, "--evaluations", 2, *options]
        monkeypatch.setattr(sys, "argv", [str(a) for a in argv])
        train.main()
        return out

    return run


def test_a_killed_run_resumes_to_the_same_result(train, run, tmp_path, monkeypatch):
    whole = run(tmp_path / "whole")
    original, steps = train.save_atomically, []

    def save_then_die(state, path):
        original(state, path)
        steps.append(state["step"])
        if len(steps) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_atomically", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    assert steps == [3] and not (tmp_path / "killed" / "weights").exists()
    killed = run(tmp_path / "killed")
    assert steps == [3, 6]

    one = load_file(whole / "weights" / "model.safetensors")
    other = load_file(killed / "weights" / "model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_result_is_a_weight_with_a_card(run, data, tmp_path):
    out = run(tmp_path / "run", "--fp32", "--small-share", 0)
    model = lensequiv.from_pretrained(out / "weights")
    info = model.weights_info
    assert info["trained_on"]["recipe"] == "modelF"
    assert info["trained_on"]["test"] == {"images": 12, "seed": 2}
    assert info["training"]["images_seen"] == 48
    assert [h["step"] for h in info["training"]["validation"]] == [3, 6]
    assert np.sum(info["metrics"]["test"]["confusion"]) == 12
    assert info["metrics"]["grid_invariance"] < 1e-5
    card = (out / "weights" / "README.md").read_text()
    assert "lensequiv simulate modelF --images 48 --seed 0" in card
    assert info["training"]["command"] in card
    # Every validation image is, by construction, within the recorded ranges.
    assert model.predict(data / "val").notes == [[]] * 12

    second = run(tmp_path / "second", "--init", out / "weights")
    config = json.loads((second / "weights" / "config.json").read_text())
    assert config["info"]["training"]["before"] == info["training"]


def test_scores_are_right_on_a_worked_example(train):
    logits = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2]])
    labels = torch.tensor([0, 1, 2, 2])
    result = train.scores(logits, labels, ("a", "b", "c"))
    assert result["accuracy"] == 0.75
    assert result["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    p = float(torch.softmax(logits[0], 0)[0])
    assert result["calibration_error"] == pytest.approx(abs(p - 0.75), abs=1e-5)
    # By pairs: class c has two positives (one at the bottom) and two negatives.
    assert result["auc"] == {"a": 1.0, "b": 0.83333, "c": 0.75}


def test_renewed_statistics_are_the_averages_over_batches(train, data):
    model = lensequiv.create_model("c4")
    images, _ = train.load(data / "train")
    seen = []
    model.stem.norm.register_forward_hook(
        lambda _, args, __: seen.append(args[0].float().mean((0, 2, 3)))
    )
    train.renew_batch_norm(model, images, RandomPose(129), batches=1)
    mean = torch.stack(seen).mean(0).view(-1, 4).mean(1)
    torch.testing.assert_close(model.stem.norm.running_mean, mean, rtol=2e-2, atol=1e-3)
    assert not model.training and model.stem.norm.momentum == 0.1
