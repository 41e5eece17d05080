"""Recipes that users write."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lensequiv.simulation import (
    Detector,
    Halos,
    LensLight,
    NoSubstructure,
    get_recipe,
    load_recipe,
    model_f,
)


def written(tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_json(tmp_path):
    content = {
        "base": "modelF",
        "name": "mine",
        "pixel_scale": 0.06,
        "z_source": [1.0, 2.0],
        "noise": {"type": "Detector", "peak_snr": [10, 20]},
        "lights": [{"type": "LensLight", "share": 1.0}],
        "spread": {"total_mass": [0.5, 2.0]},
        "substructure": {
            "no": {"type": "NoSubstructure"},
            "cdm": {"type": "Halos", "number": 20, "mass": [1e7, 1e10]},
        },
    }
    expected = replace(
        model_f,
        name="mine",
        pixel_scale=0.06,
        z_source=(1.0, 2.0),
        noise=Detector(peak_snr=(10, 20)),
        lights=(LensLight(share=1.0),),
        spread={"total_mass": (0.5, 2.0)},
        substructure={
            "no": NoSubstructure(),
            "cdm": Halos(number=20, mass=(1e7, 1e10)),
        },
    )
    assert load_recipe(written(tmp_path, content)) == expected


@pytest.mark.parametrize(
    "name", ["modelJ", "wide", "deeplensesim2-noisy", "hst", "euclid"]
)
def test_what_describe_says_can_be_read(tmp_path, name):
    recipe = get_recipe(name)
    content = {"base": "modelF", **recipe.describe()}
    assert load_recipe(written(tmp_path, content)) == recipe


def test_python(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import replace\n"
        "from lensequiv.simulation import model_j\n"
        "recipe = replace(model_j, name='mine', pixels=64)\n"
    )
    assert load_recipe(path) == replace(get_recipe("modelJ"), name="mine", pixels=64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "mine"}, "'base' is missing"),
        ({"base": "modelX"}, "unknown recipe 'modelX'"),
        ({"base": "modelF", "pixel_scal": 1}, "has no 'pixel_scal'; did you mean"),
        ({"base": "modelF", "noise": {"type": "Poisson"}}, "did you mean 'PoissonSky'"),
        (
            {"base": "modelF", "substructure": {"a": {"type": "Halos", "masss": 1}}},
            "a Halos has no 'masss'; did you mean 'mass'",
        ),
        ({"base": "modelF", "pixels": 0}, "pixels=0"),
        ("[1]", "expected an object"),
        ("{", "Expecting property name"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        load_recipe(path)
    assert str(path) in str(error.value)


def test_what_is_no_file_is_a_name_or_a_recipe():
    assert load_recipe("modelJ@1") is get_recipe("modelJ@1")
    assert load_recipe(model_f) is model_f
    with pytest.raises(ValueError, match="unknown recipe 'modelX'"):
        load_recipe("modelX")


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        load_recipe(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"in a \.py or \.json file"):
        load_recipe(tmp_path / "recipe.yaml")
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(ValueError, match="expected it to define recipe"):
        load_recipe(path)


def test_bad_pictures_in_a_file_of_a_recipe(tmp_path):
    """The message names the recipe's file and the picture."""
    (tmp_path / "galaxies").mkdir()
    image = np.ones((40, 40), np.float32)
    image[3, 3] = np.nan
    np.save(tmp_path / "galaxies" / "bad.npy", image)
    light = {"type": "Galaxies", "path": str(tmp_path / "galaxies")}
    path = written(tmp_path, {"base": "modelF", "name": "mine", "lights": [light]})
    with pytest.raises(ValueError, match=r"mine\.json: .*bad\.npy holds 1 NaN"):
        load_recipe(path)
