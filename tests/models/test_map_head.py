"""The head that maps substructure: its map turns with the image, classes do not care.

Measured as the largest change of a cell over the largest cell, for turns by 90 degrees
and flips: at most 5e-6 (float32).
"""

import copy

import pytest
import torch
from heads import SIDE, SMALL, check_onnx, other_forms, small_network

import lensequiv
from lensequiv.plain import load_plain
from lensequiv.spec import MapSpec

SPEC = MapSpec(4, 0.2, 0.25, 0.0405, 1e9, {"0.1": 0.3, "0.01": 0.8})


def lively(name="c8", fields=3, **options):
    """A small network whose norms have seen data, with a map like a trained one's."""
    options = {"activation": "gelu", "map_fields": fields, **options}
    model = small_network(name, **options)
    model.map_spec = SPEC
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
        for _ in range(3):
            x = torch.randn(4, model.in_channels, SIDE, SIDE)
            model.map_head(x, model.stages(x))
            model(x)
        model.eval()
        raw = model.map_head.raw(x, model.stages(x))
        last = model.map_head.draw[-1]
        scale = 0.25 / raw.std((0, 2, 3))
        middle = raw.mean((0, 2, 3)) - last.bias
        last.weight.mul_(scale[:, None, None, None])
        last.bias.copy_(torch.tensor([1.0, -1.0, -1.0, 0.0]) - scale * middle)
    return model


@pytest.fixture(scope="module")
def model():
    return lively()


def mapped(model, x):
    with torch.no_grad():
        return model.forward_map(x)


@pytest.mark.parametrize("name", ["c8", "d8", "c4", "d4", "so2", "o2"])
def test_the_map_turns_with_the_image(name, x):
    # In double precision: the convergence is an exponential, which magnifies rounding.
    model, x = lively(name).double(), x.double()
    drawn = mapped(model, x)
    assert drawn.shape == (3, 4, 25, 25)
    scale = drawn.abs().amax((0, 2, 3))
    assert bool((drawn.std((0, 2, 3)) > 0.02 * scale).all())  # it is not flat
    for turns in (1, 2, 3):
        turned = mapped(model, x.rot90(turns, (2, 3)))
        error = (turned - drawn.rot90(turns, (2, 3))).abs().amax((0, 2, 3))
        assert bool((error <= 1e-5 * scale).all())
    error = (mapped(model, x.flip(3)) - drawn.flip(3)).abs().amax((0, 2, 3))
    if name in ("d8", "d4", "o2"):
        assert bool((error <= 1e-5 * scale).all())
    else:  # a group without reflections tells left from right
        assert bool((error > 1e-3 * scale).all())


def test_maps_are_in_order_and_within_their_bounds(model, x):
    median, lower, upper, presence = mapped(model, 3 * x).unbind(1)
    assert bool((lower >= 0).all())
    assert bool((lower <= median).all())
    assert bool((median <= upper).all())
    assert bool(((presence >= 0) & (presence <= 1)).all())


def test_every_cell_lies_on_its_pixel(model):
    """A pixel in a row and column of cells changes no cell as much as its own."""
    x = torch.zeros(1, 1, SIDE, SIDE)
    x[..., 20:77, 20:77] = 1.0
    changes = torch.zeros(25, 25)
    with torch.no_grad():
        plain = model.map_head.raw(x, model.stages(x))
        for sign in (-1, 1):
            y = x.clone()
            y[..., 47:50, 59:62] += sign * 0.5  # about cell (12, 15)
            moved = model.map_head.raw(y, model.stages(y))
            changes += (moved - plain).square().sum((0, 1))
    rows, columns = changes.sum(1), changes.sum(0)
    places = torch.arange(25.0)
    assert float((rows * places).sum() / rows.sum()) == pytest.approx(12, abs=0.7)
    assert float((columns * places).sum() / columns.sum()) == pytest.approx(15, abs=0.7)


def test_classes_are_those_of_the_network_without_a_map(x):
    plain = lensequiv.from_pretrained("c8-modelJ@2")
    model = plain.with_map(2)
    assert model.map_spec is None and model.domain is not None
    assert model.temperature == plain.temperature
    with torch.no_grad():
        assert torch.equal(model(x), plain(x))
        assert torch.equal(model.heads(x).logits, plain(x))
        assert torch.equal(model.to_torch()(x), plain.to_torch()(x))
        again = model.with_map(0)
        assert torch.equal(again(x), plain(x)) and again.map_head is None
    assert again.tensors().keys() == plain.tensors().keys()


def test_the_plain_form_has_the_map(model, x, tmp_path):
    plain = model.to_torch()
    with torch.no_grad():
        ours, theirs = model.heads(x), plain.heads(x)
        assert torch.equal(theirs.logits, plain(x))
        assert torch.equal(plain.logits_and_embedding(x)[1], theirs.embedding)
    for found, expected in zip(theirs, ours, strict=True):
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    loaded = load_plain(plain.save(tmp_path / "plain.pt"))
    for found, expected in zip(loaded.heads(x), theirs, strict=True):
        assert torch.equal(found, expected)
    logits, drawn = loaded.all_heads()(x)
    assert torch.equal(logits, theirs.logits) and torch.equal(drawn, theirs.map)


@pytest.mark.parametrize("name", ["so2", "d4"])
def test_plain_forms_of_other_fields(name, x):
    model = lively(name, activation="relu")
    expected = mapped(model, x)
    with torch.no_grad():
        found = model.to_torch().heads(x).map
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_plain_form_without_a_map_says_so(x):
    plain = lensequiv.create_model("c4", **SMALL).to_torch()
    assert plain.heads(x).map is None
    with pytest.raises(ValueError, match="draws no map"):
        plain.all_heads()


@pytest.mark.slow
def test_onnx(model, x, tmp_path):
    check_onnx(model, x, "map", tmp_path / "model.onnx")


def test_copies_files_and_state_dicts_carry_it(model, x, tmp_path):
    expected = mapped(model, x)
    state = lively(fields=3)
    with torch.no_grad():
        for parameter in state.parameters():
            parameter.zero_()
    state.map_spec = None
    for other in other_forms(model, state, tmp_path / "a"):
        assert torch.equal(mapped(other, x), expected)
        assert other.map_spec == SPEC
    half = copy.deepcopy(model).double()
    assert (mapped(half, x.double()) - expected).abs().max() < 1e-4


def test_a_state_dict_with_a_map_is_none_of_a_network_without(model):
    other = lensequiv.create_model("c8", **SMALL, activation="gelu")
    with pytest.raises(RuntimeError, match="map_head"):
        other.load_state_dict(model.state_dict())
    other.load_state_dict(model.state_dict(), strict=False)
    assert other.map_spec is None and other.pixel_scale == 0.05
    with pytest.warns(UserWarning, match="lacks tensors"):
        model.with_map(3).load_state_dict(other.state_dict(), strict=False)


@pytest.mark.slow
def test_a_new_head_of_classes_leaves_the_map_behind(model, tmp_path):
    folder = model.save_pretrained(tmp_path / "a")
    for change in ({"num_classes": 5}, {"classes": ["a", "b"]}, {"in_channels": 2}):
        tuned = lensequiv.from_pretrained(folder, **change)
        assert tuned.map_head is None and tuned.map_spec is None
    kept = lensequiv.from_pretrained(folder, classes=model.classes)
    assert kept.map_spec == SPEC


def test_freezing_keeps_the_map(model):
    other = copy.deepcopy(model).freeze().train()
    assert not other.map_head.training and not other.stem.training
    assert not any(p.requires_grad for p in other.map_head.parameters())


def test_only_networks_that_can_draw_a_map_have_one():
    with pytest.raises(ValueError, match="turns=2: expected 1 with map_fields=2"):
        lensequiv.create_model("c4", **SMALL, disc=True, turns=2, map_fields=2)
    with pytest.raises(ValueError, match="map_fields"):
        lensequiv.create_model("c4", **SMALL, map_fields=-1)
    with pytest.raises(TypeError, match="map_fields"):
        lensequiv.create_model("resnet18", map_fields=2)
    bare = lensequiv.create_model("c4", **SMALL)
    bare.pixel_scale = 0.05
    with pytest.raises(ValueError, match="no such head"):
        bare.map_spec = SPEC
    bare = bare.with_map(2)
    with pytest.raises(ValueError, match="untrained map"):
        bare.check_map()
    bare.map_spec = SPEC
    bare.check_map()
    with pytest.raises(ValueError, match="'pixel_scale' is not known"):
        bare.pixel_scale = None


def test_a_network_without_a_map_names_weights_that_draw_one(x):
    bare = lensequiv.create_model("c4", **SMALL).set_input_size(SIDE)
    known = ", ".join(lensequiv.list_pretrained(maps=True))
    for call in (
        bare.check_map,
        lambda: bare.forward_map(x),
        lambda: bare.predict_map(x),
        lambda: bare.predict(x, maps=True),
    ):
        with pytest.raises(ValueError, match="draws no map of the substruc") as error:
            call()
        assert str(error.value).endswith(known)
