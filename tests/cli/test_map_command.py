"""`lensequiv map`."""

import json

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.cli import main
from lensequiv.data import sample_paths
from lensequiv.spec import MapSpec

SAMPLE = str(sample_paths("modelJ")[0])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    small = {"stem_fields": 2, "stages": ((2,), (2,), (3,)), "map_fields": 2}
    model = lensequiv.create_model("c4", **small).set_input_size(97)
    model.pixel_scale = 0.05
    model.map_spec = MapSpec(4, 0.2, 0.25, 0.04, 1e9, {"0.1": 0.01, "0.01": 0.99})
    return str(model.save_pretrained(tmp_path_factory.mktemp("weights")))


def test_prints_what_was_found(weights, capsys):
    arguments = ["map", SAMPLE, "--weights", weights, "--output", "json"]
    assert main([*arguments, "--false-alarms", "0.1"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (one,) = lensequiv.from_pretrained(weights).predict_map(SAMPLE)
    found = one.detections(false_alarms=0.1)
    assert [row["found"] for row in rows] == list(range(1, len(found) + 1))
    assert rows[0]["column"] == pytest.approx(found[0].column)
    assert main(arguments) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["found"] == 0 and row["highest_presence"] == pytest.approx(one.score)


@pytest.mark.slow
def test_writes_and_draws(weights, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "map.npz", tmp_path / "map.png"
    arguments = ["map", SAMPLE, "--weights", weights, "--to", str(out)]
    assert main([*arguments, "--plot", str(picture)]) == 0
    with np.load(out) as stored:
        assert stored["presence"].shape == (1, 25, 25)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "highest_presence" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "c4-modelF"], "draws no map of the substructure; bundled"),
        (["--to", "map.txt"], "expected one of .fits, .npz, .npy"),
        (["--false-alarms", "0.5"], "no threshold was measured for it"),
    ],
)
def test_what_cannot_be_is_said(weights, arguments, message, capsys):
    if "--weights" not in arguments:
        arguments = ["--weights", weights, *arguments]
    assert main(["map", SAMPLE, *arguments]) == 1
    assert message in capsys.readouterr().err
