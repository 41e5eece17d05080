"""The loss that compares the images of one lens."""

import math
from itertools import combinations

import pytest
import torch
from matched import matched_loss
from options import arguments
from train import Training, accelerator_of


def sets(lenses=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(lenses * classes, classes, generator=generator)
    orders = [torch.randperm(classes, generator=generator) for _ in range(lenses)]
    return logits, torch.cat(orders)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_it_is_the_conditional_likelihood_of_pairs(classes):
    logits, labels = sets(classes=classes)
    losses = []
    for lens in range(5):
        rows = range(lens * classes, (lens + 1) * classes)
        for a, b in combinations(rows, 2):
            own = logits[a, labels[a]] + logits[b, labels[b]]
            swapped = logits[a, labels[b]] + logits[b, labels[a]]
            probability = own.exp() / (own.exp() + swapped.exp())
            losses.append(-probability.log() / math.log(2))
    wanted = torch.stack(losses).mean()
    torch.testing.assert_close(matched_loss(logits, labels), wanted)


def test_what_the_images_of_a_lens_have_in_common_cancels():
    logits, labels = sets()
    common = 5 * torch.randn(5, 3).repeat_interleave(3, 0)
    torch.testing.assert_close(
        matched_loss(logits + common, labels), matched_loss(logits, labels)
    )
    chance = matched_loss(common, labels)
    torch.testing.assert_close(chance, torch.tensor(1.0))
    certain = common + 100 * torch.eye(3)[labels]
    assert matched_loss(certain, labels) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("map_weight", ["0", "10"])
def test_a_step_learns_from_it(tmp_path, monkeypatch, map_weight):
    monkeypatch.setattr("fresh_lenses.CHUNK", (24, 24))
    monkeypatch.setattr("start.VALIDATION", 24)
    gradients = {}
    for weight in ("0", "1e-9", "1"):
        argv = ["c4", "--fresh", "modelJ", "--out", str(tmp_path / weight)]
        argv += ["--size", "49", "--batch-size", "24", "--steps", "2", "--no-test"]
        argv += ["--seed", "3", "--matched", weight, "--map-weight", map_weight]
        argv += ["--precision", "fp32"]
        args = arguments(argv)
        training = Training(args, accelerator_of(args))
        training.step(0, 0.0)
        gradients[weight] = torch.cat([p.grad.flatten() for p in training.parameters])
    # Other lenses, the same lenses, and then their comparison.
    assert not torch.equal(gradients["0"], gradients["1e-9"])
    cosine = torch.cosine_similarity(gradients["1"], gradients["1e-9"], dim=0)
    assert 0 < cosine < 0.9999
