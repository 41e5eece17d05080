"""The weights that come with the package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lensequiv
from lensequiv.data import read_image, sample_paths
from lensequiv.weights import model_card
from lensequiv.weights._card_training import all_runs
from lensequiv.weights._catalogue import bundled_directory, sha256_of
from lensequiv.weights._format import sha256
from lensequiv.weights._table import AUC_OF_2021, weights_table

NAMES = lensequiv.list_pretrained()
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


def test_the_promised_weights_are_there():
    groups, recipes = ("c4", "c8", "d4", "d8"), ("modelF", "modelJ")
    assert {f"{g}-{r}" for g in groups for r in recipes} == set(NAMES)
    assert lensequiv.list_pretrained("*modelJ") == [n for n in NAMES if "modelJ" in n]


@pytest.mark.parametrize("name", NAMES)
def test_checksums_and_card(name):
    folder = bundled_directory(name)
    config = lensequiv.pretrained_info(name)
    weights = folder / "model.safetensors"
    assert sha256(weights) == sha256_of(name) == config["sha256"]
    assert (folder / "README.md").read_text() == model_card(config, name)
    assert weights.stat().st_size < 2**19  # half a MiB; c4's have 501 kB, the most


@pytest.mark.parametrize("name", NAMES)
def test_card_keeps_what_the_project_promises(name):
    info = lensequiv.pretrained_info(name)["info"]
    data = info["trained_on"]
    sets = [data, *(run["trained_on"] for run in all_runs(info)[:-1])]
    assert sum(s["train"]["images"] for s in sets) >= 60_000
    assert data["test"]["images"] == 7_500
    seeds = [s["train"]["seed"] for s in sets]
    seeds += [data["val"]["seed"], data["test"]["seed"]]
    assert len(set(seeds)) == len(seeds)
    scores = info["metrics"]
    group, recipe = name.split("-")
    assert scores["test"]["auc_micro"] > AUC_OF_2021[recipe][group]
    turned = scores["test_rotated"]["auc_micro"]
    assert abs(turned - scores["test"]["auc_micro"]) <= 1e-3
    assert scores["test"]["calibration_error"] < 0.01
    assert scores["grid_invariance"] < 1e-4


def test_readme_shows_the_cards_numbers():
    configs = {name: lensequiv.pretrained_info(name) for name in NAMES}
    readme = Path(__file__).parents[2] / "README.md"
    assert weights_table(configs) in readme.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_golden_logits(name):
    """Fixed images keep their logits, whatever changes in the code."""
    samples = sample_paths(name.split("-")[1])[:3]
    logits = lensequiv.from_pretrained(name).predict(samples).logits
    torch.testing.assert_close(logits, torch.tensor(GOLDEN[name]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_trained_logits_are_invariant_on_the_grid(name):
    model = lensequiv.from_pretrained(name)
    x = torch.stack([torch.from_numpy(read_image(p)) for p in sample_paths()])
    x = model.preprocess(x)
    with torch.no_grad():
        reference = model(x)
        for k in (1, 2, 3):
            change = (model(x.rot90(k, (2, 3))) - reference).abs().max()
            assert change < 1e-5 * reference.abs().max()


@pytest.mark.slow
def test_loading_needs_no_network_and_no_heavy_import():
    """Name to prediction, with sockets shut, without sympy or torchvision."""
    code = """
import socket, sys
def refuse(*args, **kwargs): raise OSError("no network in this test")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import numpy as np, lensequiv
model = lensequiv.from_pretrained("c8-modelF")
model.predict(np.random.default_rng(0).normal(size=(150, 150)))
heavy = {"sympy", "torchvision", "matplotlib", "astropy", "huggingface_hub"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
