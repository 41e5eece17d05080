"""The reference loop, on a few images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import train
from accelerate import Accelerator
from safetensors.torch import load_file

import lensequiv
from lensequiv.evaluation import evaluate, score
from lensequiv.simulation import write_class_folders, write_hdf5

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, (split, n) in enumerate({"train": 48, "val": 12, "test": 12}.items()):
        write_class_folders("modelF", n, folder / split, seed=seed, progress=False)
    return folder


@pytest.fixture(scope="module")
def data_with_truth(data, tmp_path_factory):
    """The training set in HDF5, where the masses are known."""
    folder = tmp_path_factory.mktemp("truth")
    for split in ("val", "test"):
        (folder / split).symlink_to(data / split)
    write_hdf5("modelF", 48, folder / "train.h5", seed=0, progress=False)
    return folder


SMALL = json.dumps({"stem_fields": 2, "stem_kernel": 5, "stages": [[2], [2], [2]]})


def command(data, out, *options):
    argv = ["c4", "--data", data, "--out", out, "--steps", 6, "--batch-size", 8]
    argv += ["--evaluations", 2, "--norm-images", 8, "--options", SMALL, "--size", 33]
    return [str(a) for a in [*argv, *options]]


@pytest.fixture
def run(data, monkeypatch):
    def run(out, *options, data=data):
        monkeypatch.setattr(sys, "argv", ["train.py", *command(data, out, *options)])
        train.main()
        return out

    return run


def weights(folder):
    return load_file(folder / "weights" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["folders", "hdf5", "fresh"])
def test_a_killed_run_resumes_to_the_same_result(
    run, data, data_with_truth, tmp_path, monkeypatch, source, die_at_first_checkpoint
):
    # Most processors emulate half precision, in many times the time.
    options = ["--precision", "bf16" if source == "folders" else "fp32"]
    if source == "fresh":
        options += ["--fresh", "modelF,modelJ", "--seed", 5]
    where = data if source == "folders" else data_with_truth
    monkeypatch.setattr("fresh_lenses.CHUNK", (24, 24))
    whole = run(tmp_path / "whole", *options, data=where)
    steps = die_at_first_checkpoint()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", *options, data=where)
    assert steps == [3] and not (tmp_path / "killed" / "weights").exists()
    killed = run(tmp_path / "killed", *options, data=where)
    assert steps == [3, 6]

    one, other = weights(whole), weights(killed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    if source == "fresh":
        info = lensequiv.from_pretrained(killed / "weights").weights_info
        history = info["training"]["validation"]
        seen = 8 * max(history, key=lambda entry: entry["auc_micro"])["step"]
        told = info["trained_on"]["train"]
        assert (told["images"], told["seed"], told["fresh"]) == (seen, 5, True)
        card = (killed / "weights" / "README.md").read_text()
        assert f"| train | {seen}, simulated while training | 5 |" in card
        assert "--seed 5 data/modelF@1/train" not in card


@pytest.fixture
def kept(monkeypatch):
    """Every checkpoint of a run stays beside the last one, by its step."""
    save = train.save_atomically

    def save_and_keep(state, path):
        save(state, path)
        shutil.copy(path, path.with_name(f"step{state['step']}.pt"))

    monkeypatch.setattr(train, "save_atomically", save_and_keep)


# The same in other processes.
KEEPING = """
import shutil, train

def save_and_keep(state, path, save=train.save_atomically):
    save(state, path)
    shutil.copy(path, path.with_name(f"step{state['step']}.pt"))

train.save_atomically = save_and_keep
train.main()
"""


def in_two_processes(script, *argv):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "--standalone", str(script), *argv],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")]),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# A norm follows them and takes their sum away again: their gradient is rounding, which
# AdamW makes as large as any. Losses and scores show that they do not matter.
WITHOUT_EFFECT = ("blocks.4.norm.bias", "head.0.bias", "head.1.running_mean")


def assert_same_training(one, other):
    """All weights and scores of two checkpoints, but for rounding."""
    for part in ("network", "averaged"):
        assert one[part].keys() == other[part].keys()
        for key, value in one[part].items():
            if key.endswith(WITHOUT_EFFECT):
                continue
            scale = float(value.float().abs().max())
            torch.testing.assert_close(
                other[part][key], value, rtol=0, atol=1e-4 * scale, msg=key
            )
    for first, second in zip(one["history"], other["history"], strict=True):
        assert first["step"] == second["step"]
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert second["auc_micro"] == pytest.approx(first["auc_micro"], abs=0.01)


@pytest.mark.slow
@pytest.mark.usefixtures("kept")
def test_two_processes_train_as_one(run, data_with_truth, tmp_path):
    """And each number of them goes on from what the other one has saved."""
    options = ["--precision", "fp32", "--evaluations", "3"]
    one = run(tmp_path / "one", *options, data=data_with_truth)
    two, again = tmp_path / "two", tmp_path / "again"
    two.mkdir()
    shutil.copy(one / "step2.pt", two / "checkpoint.pt")
    script = tmp_path / "keeping.py"
    script.write_text(KEEPING)
    in_two_processes(script, *command(data_with_truth, two, *options))
    again.mkdir()
    shutil.copy(two / "step4.pt", again / "checkpoint.pt")
    run(again, *options, "--no-test", data=data_with_truth)

    last = [
        torch.load(folder / "step6.pt", weights_only=True)
        for folder in (one, two, again)
    ]
    assert_same_training(last[0], last[1])
    assert_same_training(last[0], last[2])
    told = lensequiv.from_pretrained(two / "weights").weights_info["training"]
    assert told["machine"].endswith("2 processes of 1 threads on cpu")
    assert told["images_seen"] == 48
    card = (one / "weights" / "README.md").read_text()
    assert (
        "lensequiv simulate modelF@1 --images 48 --seed 0 data/modelF@1/train.h5"
        in card
    )


@pytest.mark.slow
def test_result_is_a_weight_with_a_card(run, data, tmp_path):
    out = run(tmp_path / "run", "--precision", "fp32")
    model = lensequiv.from_pretrained(out / "weights")
    info = model.weights_info
    assert info["trained_on"]["recipe"] == "modelF@1"
    assert info["trained_on"]["train"] == {"images": 48, "seed": 0, "file": "train"}
    assert info["trained_on"]["test"] == {"images": 12, "seed": 2}
    assert info["training"]["images_seen"] == 48
    assert [h["step"] for h in info["training"]["validation"]] == [3, 6]
    assert np.sum(info["metrics"]["test"]["confusion"]) == 12
    assert info["metrics"]["grid_invariance"] < 1e-5
    again = evaluate(model, data / "test", resamples=0)
    assert again.as_is.summary() == info["metrics"]["test"]
    assert again.rotated.summary() == info["metrics"]["test_rotated"]
    card = (out / "weights" / "README.md").read_text()
    assert "lensequiv simulate modelF@1 --images 48 --seed 0" in card
    assert info["training"]["command"] in card
    # Every validation image is, by construction, within the recorded ranges.
    assert model.predict(data / "val").notes == [[]] * 12

    second = run(tmp_path / "second", "--precision", "fp32", "--init", out / "weights")
    config = json.loads((second / "weights" / "config.json").read_text())
    before = {**info["training"], "trained_on": info["trained_on"]}
    assert config["info"]["training"]["before"] == before
    both = (second / "weights" / "README.md").read_text()
    assert "| train, modelF@1, at first | 48 | 0 |" in both
    assert both.count("lensequiv simulate modelF@1 --images 48 --seed 0") == 2


@pytest.mark.slow
def test_plain_folders_without_a_test_set(run, data, tmp_path, capsys):
    own = tmp_path / "own"
    for split in ("train", "val"):
        for folder in (data / split).iterdir():
            if folder.is_dir():
                (own / split).mkdir(parents=True, exist_ok=True)
                (own / split / folder.name).symlink_to(folder)
    out = run(tmp_path / "run", "--precision", "fp32", data=own)
    model = lensequiv.from_pretrained(out / "weights")
    info = model.weights_info
    assert "metrics" not in info and "recipe" not in info["trained_on"]
    assert info["trained_on"]["train"] == {"images": 48, "file": "train"}
    assert "without test scores" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match=r"of a run with lr 0\.012, not 0\.01"):
        run(tmp_path / "run", "--precision", "fp32", "--lr", 0.01, data=own)
    with pytest.raises(ValueError, match="--size 161, but the images have 150"):
        run(tmp_path / "other", "--precision", "fp32", "--size", 161, data=own)


@pytest.mark.slow
def test_validation_agrees_with_the_scores_on_cards():
    torch.manual_seed(0)
    model = lensequiv.create_model("c4", **json.loads(SMALL)).set_input_size(33)
    images, labels = torch.rand(40, 1, 33, 33), torch.arange(40) % 3
    images = model.preprocess(images)
    found = train.validate(model, images, labels, Accelerator())
    with torch.no_grad():
        logits = model(images)
    card = score(
        labels.numpy(), logits=logits.numpy(), classes=model.classes, resamples=0
    ).summary()
    assert found["accuracy"] == card["accuracy"]
    assert found["auc_micro"] == pytest.approx(card["auc_micro"], abs=1e-5)
    assert found["auc"] == pytest.approx(card["auc"], abs=1e-5)


def test_renewed_statistics_are_the_averages_over_batches():
    model = lensequiv.create_model("c4", **json.loads(SMALL))
    batches = [torch.rand(4, 1, 33, 33) for _ in range(3)]
    seen = []
    model.stem.norm.register_forward_hook(
        lambda _, args, __: seen.append(args[0].mean((0, 2, 3)))
    )
    train.renew_batch_norm(model, batches, Accelerator().autocast)
    mean = torch.stack(seen).mean(0).view(-1, 4).mean(1)
    torch.testing.assert_close(model.stem.norm.running_mean, mean, rtol=1e-4, atol=1e-6)
    assert not model.training and model.stem.norm.momentum == 0.1


def test_a_batch_must_divide_among_the_processes(data):
    class Three:
        num_processes, process_index = 3, 0

    args = type("Args", (), {"batch_size": 64, "fresh": None, "seed": 0, "data": data})
    with pytest.raises(
        ValueError, match="--batch-size 64: expected a multiple of the 3"
    ):
        train.training_images(args, Three())
