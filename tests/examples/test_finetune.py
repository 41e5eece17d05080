"""Fine-tuning a weight on another simulation, on a few images."""

import shutil
import signal
import sys
from dataclasses import replace

import finetune
import linear
import numpy as np
import pytest
import torch
import tuning

import lensequiv
from lensequiv.data import ImageError
from lensequiv.simulation import Subhalos, model_f, simulate, write_class_folders

pytestmark = pytest.mark.usefixtures("fresh_accelerator")
TINY = {"stem_fields": 2, "stem_kernel": 9, "stages": [[2, 2], [3]]}


@pytest.fixture(scope="module")
def weight(tmp_path_factory):
    torch.manual_seed(0)
    model = lensequiv.create_model("c4", **TINY).set_input_size(97)
    return model.eval().save_pretrained(tmp_path_factory.mktemp("weight") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four classes: subhalos are few and heavy, or many and light."""
    folder = tmp_path_factory.mktemp("data")
    classes = dict(model_f.substructure)
    classes = {"few": Subhalos(3, poisson=False), **classes}
    recipe = replace(model_f, name="four", substructure=classes)
    for seed, (split, n) in enumerate({"train": 24, "val": 12, "test": 12}.items()):
        write_class_folders(recipe, n, folder / split, seed=seed, progress=False)
    return folder


@pytest.fixture
def run(weight, data, monkeypatch):
    def run(out, *options, data=data, start=weight):
        argv = ["finetune.py", start, "--data", data, "--out", out, "--steps", 4]
        argv += ["--batch-size", 8, "--precision", "fp32", *options]
        monkeypatch.setattr(sys, "argv", [str(a) for a in argv])
        finetune.main()
        return lensequiv.from_pretrained(out)

    return run


def changed(model, weight):
    """Whether body and head differ from the weight's."""
    old = lensequiv.from_pretrained(weight)
    body = [
        not torch.equal(p, dict(old.named_parameters())[name])
        for name, p in model.named_parameters()
        if not name.startswith("head.")
    ]
    return any(body), model.head[4].out_features != old.head[4].out_features


def test_other_classes(run, weight, data, tmp_path):
    model = run(tmp_path / "out", "--images", 16)
    assert model.classes == ("no", "sphere", "vort", "few")  # known names first
    assert changed(model, weight) == (True, True)
    tuned = model.weights_info["fine_tuned"]
    assert tuned["images"] == 16 and tuned["from"] == str(weight)
    assert np.sum(tuned["test"]["confusion"]) == 12
    assert np.sum(tuned["validation"]["confusion"]) == 12
    assert tuned["validation"] != tuned["test"]
    assert 0 <= tuned["linear_check"] <= 1
    assert model.predict(data / "test").probabilities.shape == (12, 4)


def test_head_alone(run, weight, tmp_path):
    model = run(tmp_path / "out", "--head-share", 1)
    assert changed(model, weight) == (False, True)
    old = lensequiv.from_pretrained(weight)
    assert torch.equal(model.stem.norm.running_mean, old.stem.norm.running_mean)


@pytest.mark.slow
def test_from_scratch_the_body_is_another(run, weight, tmp_path):
    model = run(tmp_path / "out", "--scratch")
    assert model.config["stages"] == TINY["stages"]
    old = lensequiv.from_pretrained(weight)
    assert model.input_size == old.input_size == 97
    assert model.preprocess.to_config() == old.preprocess.to_config()
    assert not torch.allclose(model.stem.conv.weights, old.stem.conv.weights, atol=0.1)
    assert model.weights_info["fine_tuned"]["from"] is None


@pytest.mark.slow
def test_other_channels(run, weight, data, tmp_path):
    colours = tmp_path / "colours"
    for path in data.glob("*/*/*.npy"):
        image = np.load(path)
        target = colours / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.stack([image, 0.5 * image, image.T]))
    model = run(tmp_path / "out", data=colours)
    assert model.in_channels == 3
    assert changed(model, weight) == (True, True)


@pytest.mark.slow
def test_small_images_and_no_test_set(run, tmp_path, capsys):
    """64 pixels, folders without a manifest, train/ and val/ alone."""
    small = simulate("deeplensesim2", 24, seed=1)
    for i, (image, label) in enumerate(zip(small.images, small.labels, strict=True)):
        split = "val" if i % 3 == 0 else "train"
        folder = tmp_path / "own" / split / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{i}.npy", image.numpy() * np.float32(1e-9))
    model = run(tmp_path / "out", "--pixel-scale", 0.101, data=tmp_path / "own")
    assert model.input_size == 57 and model.classes == ("class 0", "class 1", "class 2")
    assert "test" not in model.weights_info["fine_tuned"]
    assert np.sum(model.weights_info["fine_tuned"]["validation"]["confusion"]) == 8
    assert "no test scores" in capsys.readouterr().out
    assert model.predict(small.images).logits.shape == (24, 3)
    with pytest.raises(FileExistsError, match="is not empty: choose a new name"):
        run(tmp_path / "out", data=tmp_path / "own")


@pytest.mark.slow
def test_rings_are_as_large_as_the_weight_knows_them(run, weight, tmp_path, capsys):
    """Images of another pixel scale, told by a manifest, are resampled to its own."""
    known = lensequiv.from_pretrained(weight)
    known.pixel_scale = 0.05
    start = known.save_pretrained(tmp_path / "known")
    for seed, (split, n) in enumerate({"train": 12, "val": 6, "test": 6}.items()):
        folder = tmp_path / "own" / split
        write_class_folders("deeplensesim2", n, folder, seed=seed, progress=False)
    model = run(tmp_path / "out", data=tmp_path / "own", start=start)
    assert model.pixel_scale == 0.05 and model.input_size == 97
    told = capsys.readouterr().out
    assert "0.101 arcsec a pixel, resampled to the weight's 0.05" in told
    tested = model.predict(tmp_path / "own" / "test", resample=True)
    right = tested.probabilities.argmax(1) == torch.arange(3).repeat_interleave(2)
    scores = model.weights_info["fine_tuned"]["test"]
    assert scores["accuracy"] == pytest.approx(float(right.float().mean()), abs=1e-4)
    left = run(tmp_path / "left", "--no-resample", data=tmp_path / "own", start=start)
    assert left.pixel_scale == 0.101 and left.input_size == 57
    assert "(the weight: 0.05)" in capsys.readouterr().out


def test_linear_check_sees_what_the_embedding_separates(weight):
    model = lensequiv.from_pretrained(weight, classes=["smooth", "speckled"])
    steps = torch.linspace(-1, 1, 97)
    blob = torch.exp(-(steps[None, :] ** 2 + steps[:, None] ** 2) / 0.1)
    torch.manual_seed(0)
    images = blob + 0.01 * torch.randn(40, 1, 97, 97)
    labels = torch.arange(40) % 2
    images[labels == 1] += 0.3 * torch.randn(20, 1, 97, 97) * blob
    halves = [(images[i::2], labels[i::2]) for i in range(2)]
    mixed = [(images[i * 20 :][:20], labels[i * 20 :][:20]) for i in range(2)]
    assert finetune.linear_check(model, *mixed) > 0.9
    shuffled = (mixed[0][0], mixed[0][1][torch.randperm(20)])
    assert finetune.linear_check(model, shuffled, mixed[1]) < 0.9
    # A training half of one class alone cannot tell.
    assert finetune.linear_check(model, halves[0], mixed[1]) == 0.5


def test_rates_fall_from_head_to_stem(weight):
    model = lensequiv.from_pretrained(weight)
    groups = tuning.layerwise(model, 1.0, 0.5)
    names = {id(p): n for n, p in model.named_parameters()}
    rates = {names[id(p)]: g["lr"] for g in groups for p in g["params"]}
    assert len(rates) == len(names), "every parameter is trained"
    assert rates["head.0.weight"] == rates["head.4.bias"] == 1.0
    assert rates["blocks.3.conv.weights"] == 0.5
    assert rates["blocks.1.conv.weights"] == 0.25
    assert rates["stem.conv.weights"] == 0.0625


def interrupt_at(monkeypatch, step):
    """Ctrl-C when the batch of that step is taken."""
    batch = finetune.StoredLenses.batch

    def interrupted(self, at, again=0):
        if at == step and not again:
            signal.raise_signal(signal.SIGINT)
        return batch(self, at, again)

    monkeypatch.setattr(finetune.StoredLenses, "batch", interrupted)


@pytest.mark.parametrize("step", [0, 2])
def test_interrupted(run, weight, tmp_path, monkeypatch, capsys, step):
    interrupt_at(monkeypatch, step)
    with pytest.raises(SystemExit) as caught:
        run(tmp_path / "out", "--head-share", 0.25)
    assert caught.value.code == 130
    assert f"interrupted after {step} of 4 steps" in capsys.readouterr().err
    if step == 0:
        assert not [*(tmp_path / "out").glob("*")]
    else:
        model = lensequiv.from_pretrained(tmp_path / "out")
        assert changed(model, weight)[1], "the head is new, whichever state was best"
        assert model.weights_info["fine_tuned"]["steps"] == step
        assert "test" not in model.weights_info["fine_tuned"]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(run, tmp_path, monkeypatch):
    options = ("--head-share", 0.25, "--evaluations", 2)
    whole = run(tmp_path / "whole", *options)
    with monkeypatch.context() as context:
        interrupt_at(context, 3)
        with pytest.raises(SystemExit):
            run(tmp_path / "out", *options)
    with pytest.raises(FileExistsError, match="is of a run with lr 0"):
        run(tmp_path / "out", *options, "--lr", 0.1)
    model = run(tmp_path / "out", *options)
    for name, value in whole.tensors().items():
        torch.testing.assert_close(model.tensors()[name], value, msg=name)
    found, expected = (m.weights_info["fine_tuned"] for m in (model, whole))
    for name in ("steps", "best_step", "history", "linear_check", "test"):
        assert found[name] == expected[name], name
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("README.md", "config.json", "model.safetensors")
    ]


@pytest.mark.slow
def test_the_best_state_is_kept_and_the_run_ends_early(run, tmp_path):
    """A rate that destroys the network makes every later score worse."""
    options = ("--steps", 24, "--evaluations", 12, "--patience", 2, "--scratch")
    model = run(tmp_path / "out", *options, "--lr", 3.0)
    tuned = model.weights_info["fine_tuned"]
    history = tuned["history"]
    losses = [scored["validation_loss"] for scored in history]
    assert tuned["steps"] < 24 and history[-1]["step"] == tuned["steps"]
    assert tuned["best_step"] == history[losses.index(min(losses))]["step"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"of which the state after {tuned['best_step']} was kept" in card
    assert "lensequiv finetune" in card


def test_what_luck_can_do():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    # The commonest class alone is right for a half; 0.05 is its standard error.
    assert linear.chance_level(labels) == pytest.approx((0.5, 0.6))
    assert "no better than luck" in linear.linear_verdict(0.59, labels)
    assert "luck" not in linear.linear_verdict(0.61, labels)


def test_refuses_before_any_work(run, data, tmp_path):
    with pytest.raises(ValueError, match="there is cpu"):
        run(tmp_path / "out", "--device", "cuda:7")
    bad = tmp_path / "bad"
    shutil.copytree(data, bad)
    broken = next((bad / "test").glob("*/*.npy"))
    broken.write_bytes(b"nothing")
    with pytest.raises(ImageError, match=broken.name):
        run(tmp_path / "out", data=bad)
    assert not [*(tmp_path / "out").glob("*")]
