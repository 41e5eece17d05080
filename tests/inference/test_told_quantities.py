"""Quantities in predictions, tables and files."""

import csv
import math
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import lensequiv
from lensequiv.cli import main
from lensequiv.data import read_image, sample_paths
from lensequiv.inference import Prediction, Quantities, predict_to_file
from lensequiv.inference._quantities import quantity_columns
from lensequiv.spec import Quantity

TOLD = (
    Quantity("einstein_radius_arcsec", "arcsec", 1.3, 0.2),
    Quantity("log10_axion_mass_ev", "log10(eV)", -23, 0.6, classes=("vort",)),
)
COLUMNS = quantity_columns([quantity.name for quantity in TOLD])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return lensequiv.from_pretrained("c8-modelJ@3").with_quantities(TOLD, hidden=8)


@pytest.fixture(scope="module")
def found(model):
    return model.predict(sample_paths("modelJ"), quantities=True)


def test_what_the_network_says_comes_out(model, found):
    images = torch.stack(
        [torch.as_tensor(read_image(path)[0]) for path in sample_paths("modelJ")]
    )
    with torch.no_grad():
        expected = model.forward_quantities(model.preprocess(images[:, None]))
    values = found.quantities.values
    assert values.dtype == torch.float32 and values.shape == (6, 2, 5)
    assert (values - expected).abs().max() < 1e-4
    assert torch.equal(found.quantities.median, values[..., 2])
    low, high = found.quantities.interval(95)
    assert torch.equal(low, values[..., 0]) and torch.equal(high, values[..., 4])
    with pytest.raises(ValueError, match="expected 68 or 95"):
        found.quantities.interval(90)
    one = found[3].quantities["einstein_radius_arcsec"]
    assert one.unit == "arcsec"
    assert list(one[:5]) == [values[3, 0, i].item() for i in (2, 1, 3, 0, 4)]


def test_they_are_told_only_if_asked_for(model, found):
    plain = model.predict(sample_paths("modelJ"))
    assert plain.quantities is None and plain[0].quantities is None
    assert torch.equal(plain.logits, found.logits)
    bare = lensequiv.from_pretrained("c8-modelJ@3")
    with pytest.raises(ValueError, match="tells no quantities"):
        bare.predict(sample_paths("modelJ"), quantities=True)


def test_parts_make_the_whole(model, found):
    parts = lensequiv.iter_predict(
        model, sample_paths("modelJ"), batch_size=4, quantities=True, maps=True
    )
    joined = Prediction.concatenate(list(parts))
    assert joined.quantities.spec == found.quantities.spec
    assert (joined.quantities.values - found.quantities.values).abs().max() < 1e-5
    assert torch.equal(found[[4, 0]].quantities.values, found.quantities.values[[4, 0]])
    assert pickle.loads(pickle.dumps(found)) == found
    without = model.predict(sample_paths("modelJ"))
    assert without != found
    with pytest.raises(ValueError, match="some predictions have quantities"):
        Prediction.concatenate([found, without])
    other = Quantities(
        found.quantities.values[:, :1],
        model.with_quantities(TOLD[:1]).quantities_spec,
    )
    with pytest.raises(ValueError, match="expected those of the same network"):
        Prediction.concatenate(
            [found, Prediction(**{**vars(without), "quantities": other})]
        )


def test_tables_have_units_and_leave_out_what_is_not_meant(found):
    table, frame = found.to_table(), found.to_pandas()
    for name in COLUMNS:
        assert name in table.colnames and name in frame.columns
    radius = table["einstein_radius_arcsec"]
    assert radius.unit == "arcsec"
    assert_array_equal(radius.value, found.quantities.values[:, 0, 2].numpy())
    assert_array_equal(
        frame["einstein_radius_arcsec_lower_68"],
        found.quantities.values[:, 0, 1].numpy(),
    )
    axion = table["log10_axion_mass_ev_upper_95"]
    assert axion.unit is None and axion.info.description == "log10(eV)"
    vort = np.array(found.labels) == "vort"
    assert 0 < vort.sum() < 6
    assert_array_equal(axion.mask, ~vort)
    assert_array_equal(frame["log10_axion_mass_ev"].isna(), ~vort)
    assert len(found[:0].to_table()) == 0


def test_files_hold_the_same_numbers(model, found, tmp_path):
    paths = [str(path) for path in sample_paths("modelJ")]
    out = predict_to_file(
        model, paths, tmp_path / "a.csv", progress=False, quantities=True
    )
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    frame = found.to_pandas()
    assert list(rows[0]) == list(frame.columns)
    for name in COLUMNS:
        written = [float(row[name]) if row[name] else math.nan for row in rows]
        np.testing.assert_allclose(written, frame[name], rtol=1e-5)
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    out = predict_to_file(
        model, paths, tmp_path / "a.parquet", progress=False, quantities=True
    )
    stored = pandas.read_parquet(out)
    for name in COLUMNS:
        assert stored[name].dtype == np.float32
        np.testing.assert_allclose(stored[name], frame[name], rtol=1e-5)
    with pytest.raises(ValueError, match="tells no quantities"):
        predict_to_file(
            lensequiv.from_pretrained("c8-modelJ@3"),
            paths,
            tmp_path / "b.csv",
            quantities=True,
        )
    assert not list(tmp_path.glob("*b.csv*"))


def test_a_file_with_quantities_does_not_go_on_without(model, tmp_path):
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"no image")
    paths = [*map(str, sample_paths("modelJ")), str(bad)]
    out = tmp_path / "a.csv"
    with pytest.raises(lensequiv.data.ImageError):
        predict_to_file(
            model, paths, out, batch_size=2, progress=False, quantities=True
        )
    with pytest.raises(FileExistsError, match="other with_quantities"):
        predict_to_file(model, paths, out, progress=False)
    predict_to_file(model, paths, out, progress=False, quantities=True, on_error="skip")
    with out.open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    assert last["error"] and last["einstein_radius_arcsec"] == ""


def test_the_command_prints_medians_and_intervals(model, tmp_path, capsys):
    folder = str(model.save_pretrained(tmp_path / "weights"))
    paths = [str(path) for path in sample_paths("modelJ")]
    main(["predict", *paths, "--weights", folder, "--quantities"])
    heading, *lines = capsys.readouterr().out.splitlines()
    assert "einstein_radius_arcsec" in heading and "_lower_68" not in heading
    assert all("[" in line for line in lines)
    assert lines[0].count("[") == 1 and lines[-1].count("[") == 2  # no and vort
    main(["predict", *paths, "--weights", folder, "--quantities", "--output", "csv"])
    heading = capsys.readouterr().out.splitlines()[0]
    assert ",".join(COLUMNS) in heading
    assert main(["predict", *paths, "--weights", "c8-modelJ@3", "--quantities"])
    assert "tells no quantities" in capsys.readouterr().err
