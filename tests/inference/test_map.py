"""`predict_map`: maps of images in any form, and where they lie in them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.data import sample_paths
from lensequiv.domain import OutOfDomainWarning
from lensequiv.inference import Prediction, SubstructureMap, iter_predict
from lensequiv.inference._map import peaks
from lensequiv.spec import MapSpec

SPEC = MapSpec(4, 0.2, 0.25, 0.0405, 1e9, {"0.1": 0.3, "0.01": 0.8})
SMALL = {"stem_fields": 2, "stages": ((2,), (2,), (3,)), "map_fields": 2}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = lensequiv.create_model("c4", **SMALL).set_input_size(97).eval()
    model.pixel_scale, model.map_spec = 0.05, SPEC
    return model


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(3, 120, 150)


def test_maps_are_those_of_the_network(model, images):
    result = model.predict(images, maps=True)
    plain = model.predict(images)
    assert plain.maps is None and plain[0].map is None
    assert torch.equal(result.logits, plain.logits)
    with torch.no_grad():
        expected = model.to_torch().heads(model.preprocess(images[:, None])).map
    for i, one in enumerate(result.maps):
        layers = one.convergence, one.lower, one.upper, one.presence
        assert torch.allclose(torch.stack(layers), expected[i], atol=1e-6)
        assert one.presence.shape == (25, 25) and one.path is None
        # The crop begins at row 11 and column 26.
        assert (one.top, one.left, one.step, one.cell) == (11.0, 26.0, 4.0, 0.2)
    assert model.predict_map(images) == result.maps
    assert result[1].map == result.maps[1] and result[1:].maps == result.maps[1:]
    parts = list(iter_predict(model, images, 2, maps=True))
    for found, expected_map in zip(
        Prediction.concatenate(parts).maps, result.maps, strict=True
    ):
        assert torch.allclose(found.presence, expected_map.presence, atol=1e-6)
    with pytest.raises(ValueError, match="some predictions have maps"):
        Prediction.concatenate([result, plain])


def test_resampling_keeps_the_place(model, images):
    wide = torch.rand(1, 130, 150)
    one = model.predict_map(wide, pixel_scale=0.04, resample=True)[0]
    # 96 rows and 120 columns of 0.05 arcsec are left: too few rows.
    with pytest.warns(OutOfDomainWarning, match="only 96 x 120 pixels"):
        model.predict_map(images[:1], pixel_scale=0.04, resample=True)
    assert one.step == pytest.approx(5) and one.cell == pytest.approx(0.2)
    # The centre of the map is that of the image, or half a new pixel beside it.
    middle = one.left + 12 * one.step, one.top + 12 * one.step
    assert middle[0] == pytest.approx(74.5 - 0.625)
    assert middle[1] == pytest.approx(64.5 - 0.625)
    with pytest.warns(OutOfDomainWarning, match="pixel scale 0.04"):
        noted = model.predict_map(images[:1], pixel_scale=0.04)[0]
    assert noted.cell == pytest.approx(0.16) and noted.step == 4
    assert "pixel scale 0.04" in noted.notes[0]


def test_images_of_several_sizes(model, images, tmp_path):
    np.save(tmp_path / "a.npy", images[0].numpy())
    np.save(tmp_path / "b.npy", images[0, :81, :81].numpy())
    large, small = model.predict_map([tmp_path / "a.npy", tmp_path / "b.npy"])
    assert large.presence.shape == (25, 25) and small.presence.shape == (21, 21)
    assert (small.left, small.top) == (0, 0) and small.path.endswith("b.npy")
    assert small.extent == pytest.approx((-2.1, 2.1, -2.1, 2.1))


def test_skipped_images_have_no_map(model, tmp_path):
    from lensequiv.inference import Options, batches, source_of

    np.save(tmp_path / "bad.npy", np.zeros((97, 97)))
    paths = [sample_paths()[0], tmp_path / "bad.npy", sample_paths()[1]]
    options = Options(maps=True, on_error="skip")
    (batch,) = batches(model, source_of(paths, None), options)
    names = [one.path for one in batch.maps]
    assert names == [str(sample_paths()[0]), str(sample_paths()[1])]


def drawn(presence, **changes):
    blank = torch.zeros_like(presence)
    given = {"left": 10.0, "top": 20.0, "step": 4.0, "cell": 0.2} | changes
    return SubstructureMap(blank, blank, blank, presence, SPEC, **given)


def test_detections_are_peaks_apart_from_each_other():
    presence = torch.zeros(11, 11)
    presence[2, 3], presence[2, 4] = 0.9, 0.9  # one peak between two cells
    presence[8, 8] = 0.5
    one = drawn(presence)
    first, second = one.detections(0.3)
    assert (first.probability, second.probability) == pytest.approx((0.9, 0.5))
    assert first.column == pytest.approx(10 + 3.5 * 4)
    assert first.row == pytest.approx(20 + 2 * 4)
    assert (first.x, first.y) == pytest.approx((-1.5 * 0.2, -3 * 0.2))
    assert len(one.detections()) == 1  # 1 % false alarms: above 0.8
    assert len(one.detections(false_alarms=0.1)) == 2
    assert one.detections(0.95) == [] and one.score == pytest.approx(0.9)
    with pytest.raises(ValueError, match="expected one of the two"):
        one.detections(0.3, false_alarms=0.1)
    with pytest.raises(ValueError, match="no threshold was measured"):
        one.detections(false_alarms=0.5)


def test_peaks_of_a_flat_map_end():
    assert len(peaks(torch.zeros(9, 9), 0.0, 20.0)) == 1
    assert peaks(torch.zeros(9, 9), 0.1, 1.0) == []


def test_uncertainty_and_equality():
    presence = torch.rand(5, 5)
    one, other = drawn(presence), drawn(presence.clone())
    assert one == other and hash(one) == hash(other)
    assert one != drawn(presence, left=11.0) and one != 3
    wide = replace(one, lower=torch.ones(5, 5), upper=torch.full((5, 5), 4.0))
    assert torch.equal(wide.uncertainty, torch.full((5, 5), 1.5))
    assert repr(one).startswith("SubstructureMap(5 x 5 cells of 0.2 arcsec; highest")
