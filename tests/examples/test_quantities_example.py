"""The script that trains heads which tell quantities."""

import json

import pytest
import quantities
import quantity_training
import torch
from sets import simulated_set

import lensequiv
from lensequiv.simulation import simulate

pytestmark = pytest.mark.slow

QUICK = ["--batch-size", "24", "--held-out", "96", "--device", "cpu"]
QUICK += ["--norm-images", "48"]
SMALL = {"stem_fields": 2, "stages": [[2], [2], [3]], "stem_stride": 4}


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(quantity_training, "FIRST", 96)
    monkeypatch.setattr("quantity_lenses.FIRST", 96)
    monkeypatch.setattr("fresh_lenses.CHUNK", (48, 48))


def run(monkeypatch, *argv):
    monkeypatch.setattr("sys.argv", ["quantities.py", *map(str, argv), *QUICK])
    quantities.main()


def test_a_head_on_a_weight_leaves_body_classes_and_map(monkeypatch, tmp_path, capsys):
    command = ["c8-modelJ@3", "--fresh", "modelJ", "--out", tmp_path, "--steps", 4]
    run(monkeypatch, *command, "--evaluations", 2, "--no-finish")
    assert not (tmp_path / "weights").exists()
    assert lensequiv.from_pretrained(tmp_path / "best").quantities_spec is not None
    run(monkeypatch, *command, "--evaluations", 2)
    assert "resuming" in capsys.readouterr().out
    model = lensequiv.from_pretrained(tmp_path / "weights")
    start = lensequiv.from_pretrained("c8-modelJ@3")
    for name, value in start.tensors().items():
        assert torch.equal(model.tensors()[name], value), name
    assert model.map_spec == start.map_spec and model.domain is not None
    spec = model.quantities_spec
    assert spec.names == (
        "log10_substructure_mass_fraction",
        "einstein_radius_arcsec",
        "shear",
        "subhalos_above_1e9_msun",
    )
    assert [q.classes for q in spec.quantities] == [
        ("sphere", "vort"),
        ("no", "sphere", "vort"),
        ("no", "sphere", "vort"),
        ("sphere",),
    ]
    scores = model.weights_info["metrics"]["quantities"]
    assert [s["name"] for s in scores["scores"]] == list(spec.names)
    assert scores["joint_lenses"] == 32
    assert "test" in model.weights_info["metrics"]  # of the weight it began with
    assert model.spec.information.quantities_training["images_seen"] == 4 * 24
    card = (tmp_path / "weights" / "README.md").read_text()
    assert "## Quantities" in card and "`einstein_radius_arcsec`" in card
    told = model.predict(simulate("modelJ", 3, seed=1).images, quantities=True)
    assert told.quantities.values.shape == (3, 4, 5)


def test_everything_trained_from_scratch(monkeypatch, tmp_path):
    command = [
        *("c4", "--fresh", "deeplensesim2,deeplensesim2-noisy", "--whole"),
        *("--options", json.dumps(SMALL)),
        *("--resampled", 0, "--shift", 2, "--size", 49, "--steps", 3),
        *("--quantities", "log10_axion_mass_ev", "--out", tmp_path),
    ]
    monkeypatch.setattr(
        *(quantities, "simulated_set"),
        lambda recipe, images, *more: simulated_set(recipe, 240, *more),
    )
    run(monkeypatch, *command)
    model = lensequiv.from_pretrained(tmp_path / "weights")
    assert model.pixel_scale == 0.101 and model.classes == ("no", "sphere", "vort")
    (one,) = model.quantities_spec.quantities
    assert one.classes == ("vort",) and one.unit == "log10(eV)"
    assert -24 < one.mean < -22 and 0.4 < one.scale < 0.8
    with pytest.raises(FileExistsError, match="lr"):
        run(monkeypatch, *command, "--lr", 0.1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["c4", "--fresh", "modelJ"], "expected --whole"),
        (
            ["c4-modelJ", "--fresh", "modelJ", "--quantities", "mass"],
            "expected some of",
        ),
        (
            ["c4-modelJ", "--fresh", "modelF", "--quantities", "log10_axion_mass_ev"],
            "does not vary",
        ),
        (["c4-modelJ", "--fresh", "modelJ", "--options", '{"disc": true}'], "own"),
    ],
)
def test_what_makes_no_sense_is_refused(monkeypatch, tmp_path, argv, message):
    with pytest.raises(ValueError, match=message):
        run(monkeypatch, *argv, "--out", tmp_path)
