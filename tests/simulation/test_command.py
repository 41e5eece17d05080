"""`lensequiv simulate`: recipes from files, and sheets."""

import json

import numpy as np
import pytest

from lensequiv.cli import main
from lensequiv.simulation import load_recipe, simulate


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": "modelF", "name": "mine", "pixels": 16}))
    return path


def test_a_recipe_from_a_file(tmp_path, recipe):
    out = tmp_path / "data"
    main(["simulate", str(recipe), str(out), "--images", "3", "--seed", "4"])
    expected = simulate(load_recipe(recipe), 3, seed=4).images.numpy()
    np.testing.assert_array_equal(np.load(out / "no" / "0.npy"), expected[0])


@pytest.mark.slow
def test_a_sheet_alone_and_beside_a_set(tmp_path, recipe, capsys):
    picture = tmp_path / "sheet.png"
    main(["simulate", str(recipe), "--sheet", str(picture)])
    assert f"24 lenses in {picture}" in capsys.readouterr().out
    assert picture.read_bytes()[1:4] == b"PNG"
    picture.unlink()
    out = tmp_path / "data"
    arguments = [str(recipe), str(out), "--images", "3", "--seed", "4"]
    main(["simulate", *arguments, "--sheet", str(picture)])
    assert picture.exists()
    assert len(list(out.glob("*/*.npy"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "OUT and --images and --seed missing"),
        (["out"], "--images and --seed missing"),
        (["out", "--images", "3", "--sheet", "a.png"], "--seed missing"),
        (["--images", "3", "--sheet", "a.png"], "OUT and --seed missing"),
    ],
)
def test_what_is_missing_is_named(recipe, arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["simulate", str(recipe), *arguments])
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_nothing_is_written_when_a_picture_is_bad(tmp_path, capsys):
    np.save(tmp_path / "bad.npy", np.full((40, 40), np.nan, np.float32))
    light = {"type": "Galaxies", "path": str(tmp_path / "bad.npy")}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": "modelF", "name": "mine", "lights": [light]}))
    out = str(tmp_path / "out")
    assert main(["simulate", str(path), out, "--images=3", "--seed=1"]) != 0
    assert "bad.npy" in capsys.readouterr().err
    assert sorted(found.name for found in tmp_path.iterdir()) == [
        "bad.npy",
        "mine.json",
    ]
