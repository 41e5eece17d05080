"""The networks that benchmarks time beside each other are the ones they claim to be."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

import lensequiv

ROOT = Path(__file__).parents[1]


@pytest.fixture
def predict(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("predict")


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["c8-modelF", "d4-modelJ"])
def test_every_side_classifies(predict, weights):
    sides = predict.network_sides(weights, quick=True)  # compares e2cnn's with ours
    ours = weights.split("-")[0]
    expected = sides[f"{ours}, lensequiv"][0]()
    for name, (side, images) in sides.items():
        logits = side()
        assert logits.shape == (images, 3), name
        if name in (f"{ours}, e2cnn modules", f"{ours}, plain"):
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_training_step_of_e2cnn_modules_reaches_every_weight(predict, shaken):
    model = shaken(lensequiv.create_model("c4", initialize=False)).train()
    rebuilt = predict.OfE2cnnModules(model).train()
    rebuilt(torch.rand(4, 1, 97, 97)).square().sum().backward()
    missing = [n for n, p in rebuilt.named_parameters() if p.grad is None]
    assert not missing


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(
    predict, monkeypatch, tmp_path
):
    growth = importlib.import_module("growth")
    argv = ["growth.py", "--plot", str(tmp_path / "absent" / "a.png")]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(growth, "variations", lambda: pytest.fail("work was begun"))
    with pytest.raises(OSError, match="absent does not exist"):
        growth.main()
