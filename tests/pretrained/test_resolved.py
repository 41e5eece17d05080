"""What is stored decides what a network is: no default of the code does."""

import inspect

import pytest
import torch

import lensequiv
from lensequiv.data import read_image, sample_paths
from lensequiv.models import _builders
from lensequiv.models.resnet import ResNet18
from lensequiv.models.singh2021 import Singh2021
from lensequiv.models.steerable import SteerableCNN
from lensequiv.transforms import CropAndScale, Singh2021Eval

# For every default another value, which makes another network or other images.
OTHERS = {
    "in_channels": 2,
    "num_classes": 4,
    "stem_fields": 3,
    "stem_kernel": 5,
    "stages": ((1,), (2,)),
    "kernel": 5,
    "statistics": ("max",),
    "contrast_sigma": 1.0,
    "contrast_floor": 0.5,
    "dropout": 0.5,
    "stem_stride": 2,
    "activation": "gelu",
    "pool_sigma": 1.1,
    "isotropic": True,
    "disc": True,
    "turns": 2,
    "max_frequency": 2,
    "samples": 8,
    "map_fields": 2,
    "own_noise": True,
    "fields": (1,) * 6,
    "initialize": False,
    "keep": (81, 33),
    "sky": 0.1,
    "peak": 0.9,
    "size": 65,
    "padded": 129,  # no other fits the network
}


def shift_defaults(patch, function):
    """Gives each default of a function another value."""
    function = inspect.unwrap(function)
    names = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is not p.empty and p.kind is not p.KEYWORD_ONLY
    ]
    if function.__defaults__:
        patch.setattr(function, "__defaults__", tuple(OTHERS[n] for n in names))
    if function.__kwdefaults__:
        other = {name: OTHERS[name] for name in function.__kwdefaults__}
        patch.setattr(function, "__kwdefaults__", other)


@pytest.fixture
def other_code(monkeypatch):
    """Makes all defaults of all builders different from what they are."""

    def change():
        for kind in (SteerableCNN, Singh2021, ResNet18, CropAndScale, Singh2021Eval):
            shift_defaults(monkeypatch, kind.__init__)
        for builder in _builders._BUILDERS.values():
            if inspect.isfunction(builder):
                shift_defaults(monkeypatch, builder)

    return change


def logits(model, images):
    with torch.no_grad():
        return model.eval()(model.preprocess(images))


@pytest.mark.parametrize("name", lensequiv.list_pretrained())
def test_published_weights_stay_the_same(name, other_code):
    images = torch.stack([torch.from_numpy(read_image(p)) for p in sample_paths()[:3]])
    before = lensequiv.from_pretrained(name)
    expected, record = logits(before, images), before.spec.to_config()
    other_code()
    after = lensequiv.from_pretrained(name)
    assert torch.equal(logits(after, images), expected)
    assert after.spec.to_config() == record
    assert after.pixel_scale == before.pixel_scale is not None


@pytest.mark.parametrize("name", ["steerable", "singh2021-d4", "resnet18"])
def test_saved_ones_do_too(name, other_code, tmp_path):
    options = {"fields": [2, 1, 1, 1, 1, 1]} if name.startswith("singh") else {}
    options |= {"group": "c3", "stem_fields": 2} if name == "steerable" else {}
    model = lensequiv.create_model(name, **options)
    images = torch.rand(2, 1, 150, 150)
    expected, record = logits(model, images), model.spec.to_config()
    model.save_pretrained(tmp_path)
    other_code()
    after = lensequiv.from_pretrained(tmp_path)
    assert torch.equal(logits(after, images), expected)
    assert after.spec.to_config() == record


def test_defaults_are_really_changed(other_code):
    same = {"initialize": False, "turns": 1}  # a map needs one orientation
    before = lensequiv.create_model("c8", **same).config
    other_code()
    after = lensequiv.create_model("c8", **same).config
    assert before.keys() == after.keys()
    assert [key for key in before if before[key] == after[key]] == ["turns"]


def test_every_keyword_of_the_class_is_stored():
    wanted = set(inspect.signature(SteerableCNN.__init__).parameters)
    for name in lensequiv.list_pretrained():
        options = lensequiv.pretrained_info(name)["options"]
        assert set(options) == wanted - {"self", "group", "initialize"}
