"""Networks that are built as classes are no traps."""

import copy
import pickle

import pytest
import torch
from torch import nn

import lensequiv
from lensequiv.models import InputSizes, LensNetwork, _builders
from lensequiv.models.resnet import ResNet18
from lensequiv.models.singh2021 import Singh2021
from lensequiv.models.steerable import SteerableCNN
from lensequiv.spec import Quantity

SMALL = {"stem_fields": 1, "stem_kernel": 5, "stages": ((1,), (2,))}
DIRECT = {
    "steerable c16": (lambda: SteerableCNN("c16", 2, **SMALL), "steerable"),
    "steerable d3": (lambda: SteerableCNN("d3", num_classes=2, **SMALL), "steerable"),
    "steerable c5": (lambda: SteerableCNN("c5", **SMALL, dropout=0.5), "steerable"),
    "singh2021 c3": (lambda: Singh2021("c3", fields=[1] * 6), "singh2021-c3"),
    "singh2021 d4": (lambda: Singh2021("d4", 1, 2, fields=(1,) * 6), "singh2021-d4"),
    "resnet18": (lambda: ResNet18(3, 4), "resnet18"),
}


class Small(LensNetwork):
    """A network of a user."""

    def __init__(self, width, *, in_channels=1, num_classes=3, act=nn.ReLU, **more):
        super().__init__(in_channels, num_classes, InputSizes(9, 4, 129))
        self.conv = nn.Sequential(nn.Conv2d(in_channels, width, 3), act())
        self.head = nn.Linear(width, num_classes)
        self.more = more

    def _features(self, x):
        return self.conv(x)

    def _pool(self, features):
        return features.mean((2, 3))


class Wider(SteerableCNN):
    """A subclass of a registered class is another class."""


@pytest.fixture
def registered(monkeypatch):
    """What a test registers is forgotten afterwards."""
    monkeypatch.setattr(_builders, "_BUILDERS", dict(_builders._BUILDERS))


def copies(model):
    return [copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))]


def assert_same(model, other):
    x = torch.rand(2, model.in_channels, 129, 129)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), other.eval()(x))
    assert type(other) is type(model)
    assert (other.name, other.config) == (model.name, model.config)
    assert other.classes == model.classes and other.spec.domain is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIRECT)
def test_save_load_copy(kind, tmp_path, shaken):
    build, name = DIRECT[kind]
    model = shaken(build())
    assert model.name == name
    for other in copies(model):
        assert_same(model, other)
    assert_same(model, lensequiv.from_pretrained(model.save_pretrained(tmp_path)))


def test_by_name_for_any_group(tmp_path):
    model = lensequiv.create_model("steerable", group="c16", **SMALL)
    assert model.group == "c16" and model.config["group"] == "c16"
    assert model.config["stages"] == [[1], [2]] and model.config["kernel"] == 3
    assert_same(model, lensequiv.from_pretrained(model.save_pretrained(tmp_path)))
    tuned = lensequiv.from_pretrained(tmp_path, classes=["a", "b"])
    assert (tuned.group, tuned.classes) == ("c16", ("a", "b"))
    with pytest.raises(ValueError, match=r"unknown model 'c16'; .*group='c16'"):
        lensequiv.create_model("c16")
    with pytest.raises(ValueError, match="group 'x9'"):
        lensequiv.create_model("singh2021-x9")


def test_unregistered_classes_are_not_built_with_other_heads_or_options():
    model = Wider("c4", **SMALL)
    told = Quantity("shear", "", 0.1, 0.05)
    for change, named in (
        (lambda: model.with_turns(1), "turns=1"),
        (lambda: model.with_map(2), "map_fields=2"),
        (lambda: model.with_quantities([told]), "another head"),
    ):
        with pytest.raises(TypeError, match=f"Wider is not registered, .* {named}"):
            change()


@pytest.mark.parametrize("build", [lambda: Small(4), lambda: Wider("c4", **SMALL)])
def test_unregistered_classes_copy_but_do_not_save(build, tmp_path):
    model = build()
    model.temperature = 2.0
    for other in copies(model):
        assert_same(model, other)
        assert other.temperature == 2.0
    with pytest.raises(ValueError, match=f"{type(model).__name__} is not registered"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("registered")
def test_registered_classes_and_builders(tmp_path, monkeypatch):
    monkeypatch.setattr(Small, "registered", None)
    lensequiv.register_model("small")(Small)

    @lensequiv.register_model("small-9")
    def nine(num_classes=2, depth=1, **options):
        return Small(9 * depth, num_classes=num_classes, **options)

    direct = Small(4, in_channels=2)
    named = lensequiv.create_model("small-9", in_channels=2)
    # A type is no JSON: named when saving, no obstacle to anything else.
    assert_same(named, copy.deepcopy(named))
    named.load_state_dict(copy.deepcopy(named).state_dict())
    for model in (direct, named):
        with pytest.raises(ValueError, match=r"options\['act'\] is a builtins.type"):
            model.save_pretrained(tmp_path / "new")
    assert named.config == {
        "in_channels": 2,
        "num_classes": 2,
        "act": nn.ReLU,
        "depth": 1,
    }
    assert direct.config["width"] == 4 and direct.name == "small"


@pytest.mark.usefixtures("registered")
def test_a_builder_that_does_not_take_its_options_is_named(tmp_path):
    @lensequiv.register_model("odd")
    def odd(**options):
        if options.pop("dropout", None):
            raise TypeError("no dropout, please")
        return SteerableCNN("c4", **SMALL, **options)

    model = lensequiv.create_model("odd")
    lensequiv.from_pretrained(model.save_pretrained(tmp_path / "fine"))
    model.spec.options["dropout"] = 0.5
    with pytest.raises(ValueError, match=r"does not take the options.*no dropout"):
        model.save_pretrained(tmp_path / "new")


def test_a_replaced_head_is_named(tmp_path):
    model = lensequiv.create_model("c4", **SMALL)
    model.head[4] = nn.Linear(64, 7)
    with pytest.raises(ValueError, match=r"tensor 'head.4.bias' has the shape \(7,\)"):
        model.save_pretrained(tmp_path / "new")
    with pytest.raises(TypeError, match="c4 cannot be copied or pickled: its layers"):
        copy.deepcopy(model)
