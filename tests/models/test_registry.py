"""Names to models."""

import re
from functools import partial

import pytest
import torch
from torch import nn

import lensequiv
from lensequiv.models import InputSizes, LensNetwork, _builders

FINITE = ["c4", "c8", "d4", "d8"]
STEERABLE = [*FINITE, "o2", "so2"]
SINGH = [f"singh2021-{group}" for group in ("c4", "c8", "d4", "d8")]


@pytest.fixture
def registered(monkeypatch):
    """What a test registers is forgotten afterwards."""
    monkeypatch.setattr(_builders, "_BUILDERS", dict(_builders._BUILDERS))


class Tiny(LensNetwork):
    """The smallest thing that is a model."""

    def __init__(self, in_channels=1, num_classes=3, width=2, initialize=True):
        super().__init__(in_channels, num_classes, InputSizes(9, 4, 129))
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.head = nn.Linear(width, num_classes)

    def _features(self, x):
        return self.conv(x)

    def _pool(self, features):
        return features.mean((2, 3))


# Listing


def test_all_names():
    expected = sorted([*STEERABLE, "resnet18", *SINGH, "steerable"])
    assert lensequiv.list_models() == expected


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("c8*", ["c8"]),
        ("c*", ["c4", "c8"]),
        ("[cd]4", ["c4", "d4"]),
        ("singh2021-*", SINGH),
        ("*d8", ["d8", "singh2021-d8"]),
        ("resnet18", ["resnet18"]),
        ("C8", []),
        ("nothing*", []),
    ],
)
def test_list_models_takes_patterns(pattern, names):
    assert lensequiv.list_models(pattern) == names


# Building


@pytest.mark.parametrize("name", STEERABLE)
def test_create_model(name):
    model = lensequiv.create_model(name, num_classes=2, initialize=False)
    assert isinstance(model, LensNetwork) and model.training
    assert (model.name, model.group) == (name, name)
    assert (model.config["num_classes"], model.config["in_channels"]) == (2, 1)
    assert (model.in_channels, model.num_classes) == (1, 2)
    assert model.classes == ("class0", "class1")


def test_default_classes_are_those_of_the_study():
    model = lensequiv.create_model("c4", initialize=False)
    assert model.classes == ("no", "sphere", "vort")
    assert not model.stem.conv.weights.any()
    assert model.config["num_classes"] == 3


def test_initial_weights_depend_on_the_seed_alone():
    def state(seed):
        torch.manual_seed(seed)
        model = lensequiv.create_model("c4")
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(state(1), state(1))
    assert not torch.equal(state(1), state(2))


@pytest.mark.parametrize("name", ["c5", "C4", "", "resnet", "singh2021"])
def test_unknown_name_is_named_with_the_known_ones(name):
    with pytest.raises(ValueError, match="unknown model") as caught:
        lensequiv.create_model(name)
    message = str(caught.value)
    assert repr(name) in message
    for known in lensequiv.list_models():
        assert known in message


@pytest.mark.parametrize("name", ["c4", "singh2021-c4", "resnet18"])
def test_unknown_option_is_named(name):
    with pytest.raises(TypeError, match="in_chans"):
        lensequiv.create_model(name, in_chans=3)


@pytest.mark.parametrize("name", ["c4", "singh2021-c4", "resnet18"])
@pytest.mark.parametrize("option", ["in_channels", "num_classes"])
@pytest.mark.parametrize("count", [0, -1, 2.0, "3", True, None])
def test_bad_counts_are_named(name, option, count):
    with pytest.raises(ValueError, match=re.escape(f"{option}={count!r}")):
        lensequiv.create_model(name, **{option: count})


# Registering


@pytest.mark.usefixtures("registered")
def test_register_model():
    @lensequiv.register_model("tiny")
    def tiny(**kwargs):
        return Tiny(**kwargs)

    assert lensequiv.list_models("t*") == ["tiny"]
    assert isinstance(tiny(), Tiny)  # the decorator hands the builder back
    model = lensequiv.create_model("tiny", width=5, num_classes=4)
    assert (model.name, model.config) == (
        "tiny",
        {"in_channels": 1, "width": 5, "num_classes": 4},
    )
    assert model(torch.randn(2, 1, 13, 13)).shape == (2, 4)
    with pytest.raises(ValueError, match=r"tiny: input of 14 x 14 .*: 13 or 17$"):
        model(torch.randn(2, 1, 14, 14))


def test_what_a_test_registers_is_forgotten():
    assert "tiny" not in lensequiv.list_models()


@pytest.mark.parametrize("name", ["c8", "resnet18", "singh2021-d4"])
@pytest.mark.usefixtures("registered")
def test_duplicate_names_are_refused(name):
    before = _builders._BUILDERS[name]
    with pytest.raises(ValueError, match=f"'{name}' is already registered"):
        lensequiv.register_model(name)(Tiny)
    assert _builders._BUILDERS[name] is before


@pytest.mark.usefixtures("registered")
def test_same_builder_may_have_several_names():
    for width in (1, 2):
        lensequiv.register_model(f"tiny{width}")(partial(Tiny, width=width))
    assert lensequiv.create_model("tiny1").conv.out_channels == 1
    assert lensequiv.create_model("tiny2").conv.out_channels == 2


# Sizes


def test_input_sizes():
    sizes = InputSizes(33, 16, 257)
    assert str(sizes) == "33, 49, ..., 257"
    assert list(sizes.range)[:3] == [33, 49, 65] and sizes.range[-1] == 257
    assert 129 in sizes and 257 in sizes
    for wrong in (128, 17, 273, 33.0, "33", None):
        assert wrong not in sizes
    assert sizes.nearest(128) == [113, 129]
    assert sizes.nearest(129) == [129]
    assert sizes.nearest(8) == [33]
    assert sizes.nearest(1000) == [257]


def test_few_input_sizes_are_written_out():
    assert str(InputSizes(129, 1, 129)) == "129"
    assert str(InputSizes(33, 16, 65)) == "33, 49, 65"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrained": True}, "from_pretrained loads weights.* 'c8-modelF' or 'c8-m"),
        ({"weights": "DEFAULT"}, "from_pretrained loads weights"),
        ({"pretrained": False}, "builds untrained networks always; leave it out"),
        ({"in_chans": 3}, "'in_chans'; here it is in_channels="),
        ({"num_channels": 3}, "'num_channels'; here it is in_channels="),
        ({"n_classes": 3}, "here it is num_classes="),
        ({"img_size": 97}, "set_input_size"),
        ({"num_clases": 3}, "did you mean 'num_classes'"),
        ({"colour": 3}, "unknown option 'colour'; known are .*in_channels"),
    ],
)
def test_words_of_other_libraries_lead_to_ours(options, message):
    with pytest.raises(TypeError, match=message):
        lensequiv.create_model("c8", **options)


def test_options_of_other_networks_and_weights_there_are_none_of():
    with pytest.raises(TypeError, match="known are in_channels, initialize, num_clas"):
        lensequiv.create_model("resnet18", dropout=0.1)
    with pytest.raises(TypeError, match="there are none of resnet18"):
        lensequiv.create_model("resnet18", pretrained=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c8-modelF", r"lensequiv.from_pretrained\('c8-modelF'\) loads weights"),
        ("C8-MODELF", r"lensequiv.from_pretrained\('c8-modelF'\) loads weights"),
        ("owner/name", r"lensequiv.from_pretrained\('owner/name'\) loads weights"),
        ("c8_modelX", r"'c8-modelF'.* \(weights: lensequiv.from_pretrained\)"),
        ("C8", "did you mean 'c8'"),
        ("resnet-18", "did you mean 'resnet18'"),
        (None, "unknown model None; known are"),
    ],
)
def test_names_lead_to_the_call_that_was_meant(name, message):
    with pytest.raises(ValueError, match=message):
        lensequiv.create_model(name)


def test_a_builders_own_mistakes_are_not_explained_away(registered):
    @lensequiv.register_model("broken")
    def broken():
        raise TypeError("mine alone")

    with pytest.raises(TypeError) as caught:
        lensequiv.create_model("broken")
    assert str(caught.value) == "mine alone"
