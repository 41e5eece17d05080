"""Images that are too small for the crop, or hold places where nothing was observed."""

import numpy as np
import pytest
import torch
from astropy.io import fits
from PIL import Image

import lensequiv
from lensequiv.data import read_image, sample_paths
from lensequiv.domain import OutOfDomainWarning
from lensequiv.evaluation import evaluate
from lensequiv.inference._cropping import crop_to_fit, without_data
from lensequiv.transforms import CropAndScale

NOISE = np.random.default_rng(6)


@pytest.fixture(scope="module")
def model():
    return lensequiv.from_pretrained("c8-modelJ@2")


@pytest.fixture(scope="module")
def lens():
    return read_image(sample_paths("modelJ")[0])[0]


@pytest.fixture
def crop():
    made = CropAndScale(97, keep=(81,))
    made.sides = range(33, 258, 16)
    return made


@pytest.mark.parametrize("shape", [(97, 97), (81, 81), (97, 300), (150, 150)])
def test_what_is_large_enough_is_cropped_as_ever(crop, shape):
    image = torch.rand(1, *shape)
    result = crop_to_fit(crop, image, enlarge=True)
    assert torch.equal(result.image, crop.crop(image)) and not result.notes
    assert (result.top, result.left) == crop.offset(*shape)


@pytest.mark.parametrize(
    ("shape", "side", "top", "left"),
    [
        ((41, 41), 49, -4, -4),
        ((64, 64), 65, -1, -1),
        ((80, 100), 81, -1, 9),
        ((300, 49), 49, 125, 0),
        ((81, 90), 81, 0, 4),
    ],
)
def test_edges_are_repeated_up_to_the_next_side(crop, shape, side, top, left):
    image = torch.rand(2, *shape)
    result = crop_to_fit(crop, image, enlarge=True)
    assert (result.top, result.left) == (top, left)
    rows = np.clip(np.arange(top, top + side), 0, shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, shape[1] - 1)
    assert torch.equal(result.image, image[:, rows][:, :, columns])
    (note,) = result.notes
    assert f"only {shape[0]} x {shape[1]} pixels (training 97 x 97)" in note
    assert f"saw {side} x {side}" in note
    with pytest.raises(ValueError, match="expected at least 97 x 97"):
        crop_to_fit(crop, image, enlarge=False)


def test_what_is_smaller_than_any_network_is_refused(crop):
    with pytest.raises(ValueError, match="smallest this network can take has a side"):
        crop_to_fit(crop, torch.rand(1, 32, 200), enlarge=True)


def test_a_corner_without_data_is_noted():
    image = torch.rand(1, 97, 97)
    assert without_data(image) == []
    image[0, :10, :30] = 0
    (note,) = without_data(image)
    assert (
        "300 of the 97 x 97 pixels that the network saw are 0, up to a corner" in note
    )
    assert without_data(torch.rand(1, 5, 97)) == []
    counts = (image * 100).round()
    assert without_data(counts) == []
    y, x = np.mgrid[-48:49, -48:49]
    smooth = torch.from_numpy(np.where(np.hypot(x, y) < 30, 0.5 / (1 + x * x), 0))
    assert without_data(smooth[None]) == []  # simulated without sky and noise


def test_small_images_are_right_and_flagged(model, lens):
    part = lens[35:115, 35:115]
    assert part.shape == (80, 80)
    with pytest.warns(OutOfDomainWarning, match="80 x 80 pixels"):
        result = model.predict(part)
    edged = np.pad(part, ((1, 0), (1, 0)), mode="edge")
    with pytest.warns(OutOfDomainWarning):
        expected = model.predict(edged)
    assert torch.equal(result.logits, expected.logits)
    assert result.labels == ["no"] and result.unlike_training.all()


def test_sets_to_be_scored_are_not_enlarged(model, lens, tmp_path):
    for name in model.classes:
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", lens[35:115, 35:115])
    with pytest.raises(ValueError, match=r"80 x 80 pixels; expected at least 97"):
        evaluate(model, tmp_path)


def test_a_margin_without_data_does_not_change_the_answer(model, lens, tmp_path):
    expected = model.predict(lens)
    turned = np.pad(lens, ((30, 20), (5, 40)), constant_values=np.nan)
    # Twelve rows more below, so that the lens is in the centre of the whole.
    turned = np.pad(turned, ((0, 10), (35, 0)), constant_values=np.nan)
    fits.writeto(tmp_path / "a.fits", turned)
    with pytest.warns(OutOfDomainWarning, match=r"are NaN; the central 150 x 150"):
        result = model.predict(tmp_path / "a.fits")
    assert torch.equal(result.logits, expected.logits)


def test_maps_know_where_a_trimmed_image_lay(lens, tmp_path):
    model = lensequiv.from_pretrained("c8-modelJ@3")
    fits.writeto(tmp_path / "whole.fits", lens)
    wide = np.pad(lens, ((30, 30), (35, 35)), constant_values=np.nan)
    fits.writeto(tmp_path / "wide.fits", wide)
    whole = model.predict_map(tmp_path / "whole.fits")[0]
    with pytest.warns(OutOfDomainWarning, match="central 150 x 150"):
        found = model.predict_map(tmp_path / "wide.fits")[0]
    assert torch.equal(found.presence, whole.presence)
    assert (found.top, found.left) == (whole.top + 30, whole.left + 35)


def test_grey_pictures_stored_as_colours(model, lens, tmp_path):
    grey = (lens / lens.max() * 255).round().astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "rgb.png")
    result = model.predict([tmp_path / "grey.png", tmp_path / "rgb.png"])
    assert torch.equal(result.logits[0], result.logits[1])
    red = np.stack([grey, grey, grey // 2], -1)
    Image.fromarray(red).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"3 channels; c8 expects 1; give one of them"):
        model.predict(tmp_path / "rgb.png")


def test_flags_say_when_no_header_tells_the_scale(model, tmp_path):
    noise = NOISE.normal(size=(150, 150)).astype(np.float32)
    fits.writeto(tmp_path / "a.fits", noise)
    header = fits.Header({"PIXSCALE": 0.05})
    fits.writeto(tmp_path / "b.fits", noise, header)
    told = r"No header tells the pixel scale of 1 of them all"
    with pytest.warns(OutOfDomainWarning, match=told):
        model.predict(tmp_path)
    for x, options in ((tmp_path, {"pixel_scale": 0.05}), (tmp_path / "b.fits", {})):
        with pytest.warns(OutOfDomainWarning) as caught:
            model.predict(x, **options)
        assert "No header" not in str(caught[0].message)
