"""Adapting to images without labels: what is made, what is taken, what is refused."""

import math
import warnings

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.adaptation import AdaptationWarning, adapt
from lensequiv.adaptation._networks import (
    answers,
    inform,
    information,
    mixed_norms,
    norms_of,
)
from lensequiv.domain import OutOfDomainWarning
from lensequiv.simulation import simulate

TINY = {"stem_fields": 2, "stem_kernel": 5, "stages": ((2,), (2,)), "kernel": 3}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return lensequiv.create_model("c4", **TINY).set_input_size(33).eval()


@pytest.fixture
def inputs():
    """Noise, with a blob in every second image: there is something to be told apart."""
    steps = torch.linspace(-1, 1, 33)
    blob = torch.exp(-(steps[None, :] ** 2 + steps[:, None] ** 2) / 0.1)
    made = torch.rand(64, 1, 33, 33, generator=torch.Generator().manual_seed(1))
    made[::2] = 0.2 * made[::2] + blob
    return made


def test_information():
    """Certain and different: the logarithm of the classes; uniform or the same: 0."""
    assert information(torch.eye(3).repeat(4, 1).double()) == pytest.approx(math.log(3))
    assert information(torch.full((5, 3), 1 / 3).double()) == pytest.approx(0)
    assert information(torch.eye(3)[:1].repeat(5, 1).double()) == pytest.approx(0)
    half = torch.tensor([[1.0, 0], [0.5, 0.5]]).double()
    wanted = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) - 0.5 * math.log(2)
    assert information(half) == pytest.approx(wanted)


@pytest.mark.slow
def test_statistics_are_mixed(tiny, inputs):
    none = mixed_norms(tiny, inputs, 0.0, 16)
    for name, value in tiny.tensors().items():
        if "num_batches" not in name:
            assert torch.equal(none.tensors()[name], value), name
    halves = [mixed_norms(tiny, inputs, share, 16) for share in (0.0, 0.5, 1.0)]
    for old, half, new in zip(*map(norms_of, halves), strict=True):
        middle = (old.running_mean + new.running_mean) / 2
        torch.testing.assert_close(half.running_mean, middle)
        between = (old.running_mean - new.running_mean).square() / 4
        spread = (old.running_var + new.running_var) / 2 + between
        torch.testing.assert_close(half.running_var, spread)
        assert half.momentum is not None
    # The new statistics are those of what the layer sees.
    seen = []
    hook = norms_of(tiny)[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    tiny(inputs)
    hook.remove()
    norm = norms_of(halves[2])[0]  # which takes the channels of a field together
    fields = seen[0].unflatten(1, (len(norm.running_mean), -1))
    wanted = fields.mean((0, 2, 3, 4))
    torch.testing.assert_close(norm.running_mean, wanted, atol=1e-4, rtol=1e-3)


def test_a_map_s_own_layers_keep_their_statistics(inputs):
    torch.manual_seed(0)
    model = lensequiv.create_model("c4", **TINY, map_fields=2).set_input_size(33).eval()
    made = mixed_norms(model, inputs, 1.0, 16)
    kept = [
        torch.equal(made.tensors()[name], value)
        for name, value in model.tensors().items()
        if name.startswith("map_head.") and "running" in name
    ]
    assert kept and all(kept)


@pytest.mark.slow
def test_training_changes_scales_alone_and_gains_information(tiny, inputs):
    before = information(answers(mixed_norms(tiny, inputs, 1.0, 16), inputs)[0])
    made = inform(tiny, inputs, 30, 0.02, 32, 0, False)
    assert information(answers(made, inputs)[0]) > before + 0.004
    changed = {
        name.rpartition(".")[0]
        for name, value in tiny.named_parameters()
        if not torch.equal(dict(made.named_parameters())[name], value)
    }
    assert changed and all("norm" in name for name in changed)
    assert all(p.requires_grad for p in made.parameters()) and not made.training
    x = inputs[:2]
    with torch.no_grad():
        found, turned = made(x), made(x.rot90(1, (2, 3)))
    torch.testing.assert_close(turned, found, atol=1e-4, rtol=1e-3)


def test_what_is_no_better_comes_back_unchanged(tiny):
    images = np.random.default_rng(0).normal(size=(60, 40, 40)).astype(np.float32)
    with pytest.warns(AdaptationWarning, match="as it is, by more than 0.05"):
        same = adapt(tiny, images, steps=0, balanced=True)
    assert same is not tiny and "adapted" not in same.weights_info
    for name, value in tiny.tensors().items():
        assert torch.equal(same.tensors()[name], value), name


@pytest.mark.slow
def test_a_damaged_network_is_mended(tmp_path):
    """Another instrument that shifts what a layer sees, on images we have labels of."""
    model = lensequiv.from_pretrained("c4-modelF@1")
    norm = norms_of(model)[2]
    norm.running_mean += 3 * norm.running_var.sqrt()
    before = {name: value.clone() for name, value in model.tensors().items()}
    lenses, others = (simulate("modelF", n, seed=n) for n in (210, 120))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        warnings.simplefilter("error", AdaptationWarning)
        adapted = adapt(
            model, lenses.images, steps=2, batch_size=40, balanced=True
        )  # as it is, its answers do not tell that the parts are equal
        right = [
            float((m.predict(others.images).logits.argmax(1) == others.labels).sum())
            for m in (model, adapted)
        ]
    assert right[0] < 90 < 108 < right[1]
    for name, value in model.tensors().items():
        assert torch.equal(before[name], value), name
    record = adapted.weights_info["adapted"]
    assert record["images"] == 210 and record["from"] == "c4-modelF@1"
    assert record["scores"][record["chosen"]] == max(record["scores"].values())
    assert "metrics" not in adapted.weights_info and adapted.origin is None
    assert adapted.temperature == model.temperature
    flagged = adapted.predict(others.images).unlike_training
    assert float(flagged.double().mean()) < 0.1, "its domain is that of the new images"
    again = lensequiv.from_pretrained(adapted.save_pretrained(tmp_path / "w"))
    assert again.weights_info["adapted"] == record
    card = (tmp_path / "w" / "README.md").read_text()
    assert "Adapted from `c4-modelF@1` to 210 unlabelled images: stat" in card
    assert "No label has checked it" in card and "Recorded by the user" not in card


def named(model, label):
    """The model as it is, but that it gives every image the same label."""
    with torch.no_grad():
        model.head[-1].bias[label] += 50
    return model


def test_unequal_parts_are_not_adapted_to(tiny):
    images = np.random.default_rng(0).normal(size=(60, 40, 40)).astype(np.float32)
    wanted = r"unequal parts \(no 0 %, sphere 100 %, vort 0 %\).*balanced=True"
    with pytest.warns(AdaptationWarning, match=wanted) as told:
        same = adapt(named(tiny, 1), images)
    assert len(told) == 1 and told[0].filename == __file__
    assert same is not tiny and "adapted" not in same.weights_info
    for name, value in tiny.tensors().items():
        assert torch.equal(same.tensors()[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize("share", [1 / 3, 0.8])
def test_parts_decide_whether_to_adapt(share):
    """A weight on another simulation's images, which it knows well."""
    others = round(60 * (1 - share))
    lenses = simulate("modelF", 180, seed=931)
    parts = [torch.nonzero(lenses.labels == label).flatten() for label in range(3)]
    rows = torch.cat([parts[0], parts[1][:others], parts[2][:others]])
    model = lensequiv.from_pretrained("c8-modelJ@2")
    with pytest.warns(AdaptationWarning) as told:
        adapted = adapt(model, lenses.images[rows], steps=0)
    assert "adapted" not in adapted.weights_info
    assert ("unequal parts" in str(told[0].message)) == (share > 0.5)


@pytest.mark.slow
def test_what_no_label_has_checked_says_so(tmp_path):
    model = lensequiv.from_pretrained("c4-modelF@1")
    norm = norms_of(model)[2]
    norm.running_var *= 3  # a change that leaves most answers right
    lenses = simulate("modelF", 180, seed=932)
    with pytest.warns(AdaptationWarning, match="answers suggest no .* vort .*stat"):
        adapted = adapt(model, lenses.images, steps=0, batch_size=40)
    parts = adapted.weights_info["adapted"]["estimated_parts"]
    assert list(parts) == ["no", "sphere", "vort"]
    assert sum(parts.values()) == pytest.approx(1, abs=1e-3)
    card = adapted.save_pretrained(tmp_path / "w") / "README.md"
    assert "answers of the weight it came from suggest" in card.read_text()


@pytest.mark.slow
def test_labels_decide_where_there_are_some(tiny):
    """With labels that the network gets right as it is, nothing can be better."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(60, 33, 33)).astype(np.float32)
    given = torch.from_numpy(images[:12, None])
    with torch.no_grad():
        labels = tiny(tiny.preprocess(given)).argmax(1)
    tiny.temperature = 0.05  # as it is, the answers are certain
    with pytest.warns(AdaptationWarning, match="log-likelihood of the labels"):
        adapt(tiny, images, steps=0, validation=(given, labels))


def test_refusals(tiny):
    images = np.random.default_rng(0).normal(size=(60, 40, 40)).astype(np.float32)
    with pytest.raises(ValueError, match="12 images; expected at least 60"):
        adapt(tiny, images[:12])
    with pytest.raises(ValueError, match="steps"):
        adapt(tiny, images, steps=-1)
    with pytest.raises(ValueError, match="rate"):
        adapt(tiny, images, rate=0)
    with pytest.raises(ValueError, match="labels from 0 to 3; expected 0 to 2"):
        adapt(tiny, images, validation=(images[:4, None], [0, 1, 2, 3]))
    with pytest.raises(ValueError, match="3 images and labels of shape"):
        adapt(tiny, images, validation=(images[:3, None], [0, 1]))
