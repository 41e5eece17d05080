"""The record of a network."""

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv._checks import check_same_classes
from lensequiv.spec import Spec, as_json, migrated, read_information
from lensequiv.transforms import CropAndScale

TINY = {"stem_fields": 1, "stem_kernel": 3, "stages": [[1], [1]]}


@pytest.fixture
def spec():
    return lensequiv.from_pretrained("c8-modelF").spec


def test_config_and_back(spec):
    config = json.loads(json.dumps(spec.to_config()))
    assert config["format"] == 2 and config["pixel_scale"] == 0.05
    again = Spec.from_config(config, spec.domain.tensors())
    assert again.to_config() == config
    for name, value in spec.domain.tensors().items():
        assert torch.equal(again.domain.tensors()[name], value)


def test_it_is_frozen_and_checked(spec):
    with pytest.raises(FrozenInstanceError):
        spec.classes = ("a", "b", "c")
    for change, message in (
        ({"classes": ("a", "a", "b")}, "'a' stands there twice"),
        ({"temperature": 0.0}, "'temperature' is 0.0; expected a positive number"),
        ({"pixel_scale": -0.05}, "'pixel_scale' is -0.05; expected a positive"),
        ({"pixel_scale": float("nan")}, "'pixel_scale' is nan"),
        ({"classes": ("a", "b")}, "'domain' is one of 3 classes; expected 2"),
        ({"input_size": 97.0}, "input_size=97.0: expected a positive integer"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(spec, **change)


def test_format_1_is_migrated_and_newer_ones_are_refused(spec):
    config = spec.to_config()
    old = {k: v for k, v in config.items() if k not in ("pixel_scale", "temperature")}
    old |= {"format": 1, "options": {"num_classes": 3}}
    new = migrated(old)
    assert (new["format"], new["pixel_scale"], new["temperature"]) == (2, None, 1.0)
    with pytest.raises(ValueError, match="unknown key 'pixel_scale'"):
        migrated({**config, "format": 1})
    with pytest.raises(
        ValueError, match="format 6; this lensequiv reads formats 1 to 5"
    ):
        migrated({**config, "format": 6})


def test_attributes_read_and_set_the_record():
    model = lensequiv.create_model("c4", **TINY)
    model.classes = ["axion", "cdm", "no_sub"]
    model.pixel_scale, model.temperature = np.float32(0.25), 2
    model.preprocess = CropAndScale(65)
    model.weights_info = {"scores": (np.float64(0.5), 1)}
    spec = model.spec
    assert spec.classes == model.classes == ("axion", "cdm", "no_sub")
    assert (spec.pixel_scale, spec.temperature) == (0.25, 2.0)
    assert spec.preprocess.size == model.preprocess.size == 65
    assert model.weights_info == {"scores": [0.5, 1]}
    assert "preprocess" not in dict(model.named_children())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("classes", "abc", "expected a list of names"),
        ("classes", ["a", "b"], "2 class names; expected 3"),
        ("input_size", 64, "'input_size' is 64; c4 takes"),
        ("pixel_scale", 0, "'pixel_scale' is 0"),
        ("pixel_scale", "0.05", "'pixel_scale' is '0.05'"),
        ("temperature", torch.tensor(1.0), "temperature is a torch.Tensor"),
        ("preprocess", CropAndScale(64), "images of 64 x 64 pixels; c4 takes"),
        ("weights_info", {"a": {"b": {1, 2}}}, r"info\['a'\]\['b'\] is a builtins.set"),
        ("weights_info", {"image_statistics": 3}, "image_statistics"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_set(name, value, message):
    model = lensequiv.create_model("c4", **TINY)
    before = model.spec
    with pytest.raises(ValueError, match=message):
        setattr(model, name, value)
    assert model.spec is before


def test_set_input_size_sets_both():
    model = lensequiv.create_model("c4", **TINY).set_input_size(65)
    assert (model.spec.input_size, model.spec.preprocess.size) == (65, 65)


# Names of classes


@pytest.mark.slow
def test_only_the_default_has_the_studys_names():
    names = ("no", "sphere", "vort")
    assert lensequiv.create_model("c4", **TINY).classes == names
    three = lensequiv.create_model("c4", num_classes=3, **TINY)
    assert three.classes == ("class0", "class1", "class2")
    assert lensequiv.create_model("resnet18").classes == names


def test_check_same_classes():
    known = ("no", "sphere", "vort")
    assert check_same_classes(known, ["vort", "no"], "data") == (2, 0)
    with pytest.raises(
        ValueError, match="data has the class 'axion', among axion, cdm"
    ):
        check_same_classes(known, ["axion", "cdm"], "data")
    with pytest.raises(ValueError, match="nobody has named: set model"):
        check_same_classes(("class0", "class1"), ["axion", "cdm"], "data")


# Information


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, torch.ones(1)]}, r"info\['a'\]\[1\] is a torch.Tensor"),
        ({"a": float("inf")}, r"info\['a'\] is inf, which is not JSON compliant"),
        ({(1, 2): 3}, r"info has the key \(1, 2\)"),
        ({1: "a", "1": "b"}, "info has the key '1'; expected different texts"),
    ],
)
def test_what_json_cannot_hold_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        as_json(value, "info")


def test_what_holds_itself_is_refused():
    info = {}
    info["self"] = info
    with pytest.raises(ValueError, match="nested more than 100 deep, or holds itself"):
        as_json(info, "info")


def test_information_of_a_bundled_weight_is_known_to_the_last_key():
    for name in lensequiv.list_pretrained():
        info = read_information(lensequiv.pretrained_info(name)["info"])
        recipe, _, _ = info.trained_on["recipe"].partition("@")
        assert info.user == {} and recipe == name.split("-", 1)[1].removesuffix(
            "-turns"
        )
        assert info.metrics["test"]["images"] in (7500, 15_000)


def test_keys_of_another_form_are_the_users():
    info = read_information(
        {"trained_on": "HST", "metrics": 0.9, "licence": "MIT", "user": 1, "more": []}
    )
    assert info.licence == "MIT" and info.trained_on is None
    assert info.user == {"trained_on": "HST", "metrics": 0.9, "user": 1, "more": []}
