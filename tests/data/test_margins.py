"""Margins of NaN: cut away evenly, so that the centre stays the centre."""

import numpy as np
import pytest

from lensequiv.data import ImageError, read_image, read_stored
from lensequiv.data.margins import without_margin

NOISE = np.random.default_rng(5)


def image(height=100, width=100):
    return NOISE.normal(size=(1, height, width)).astype(np.float32)


def test_nothing_is_cut_without_nan():
    whole = image()
    counts = np.arange(40_000).reshape(1, 200, 200)
    for pixels in (whole, counts):
        result = without_margin(pixels)
        assert result.pixels is pixels and result[1:] == (0, 0, ())


def test_the_centre_stays_the_centre():
    pixels = image(100, 120)
    pixels[0, :7] = np.nan  # above
    pixels[0, :, -2:] = np.nan  # on the right
    result = without_margin(pixels)
    assert (result.top, result.left) == (7, 2)
    np.testing.assert_array_equal(result.pixels, pixels[:, 7:-7, 2:-2])
    (note,) = result.notes
    assert "of its 100 x 120 pixels are NaN; the central 86 x 116" in note
    assert note.startswith(f"{7 * 120 + 2 * 93} ")


def test_corners_of_an_image_that_was_turned():
    pixels = image(201, 201)
    y, x = np.mgrid[-100:101, -100:101]
    pixels[0, np.abs(x) + np.abs(y) > 130] = np.nan
    result = without_margin(pixels)
    assert result.pixels.shape == (1, 131, 131)  # the largest square within
    assert np.isfinite(result.pixels).all() and result.top == result.left == 35


def test_nan_in_one_of_several_channels_counts():
    pixels = np.concatenate([image(), image()])
    pixels[1, 0, 50] = np.nan
    assert without_margin(pixels).pixels.shape == (2, 98, 100)


@pytest.mark.parametrize(("row", "column"), [(50, 50), (26, 40)])
def test_nan_within_the_image_is_left_to_be_refused(row, column):
    pixels = image()
    pixels[0, row, column] = np.nan
    assert without_margin(pixels).pixels is pixels


def test_infinities_are_no_margin():
    pixels = image()
    pixels[0, 0, :2] = np.inf, -np.inf
    assert without_margin(pixels).pixels is pixels


def test_only_on_request(tmp_path):
    pixels = image()[0]
    pixels[:3] = np.nan
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(ImageError, match=r"300 NaN .*fill such pixels first"):
        read_stored(tmp_path / "a.npy")
    with pytest.raises(ImageError, match="300 NaN"):
        read_image(tmp_path / "a.npy")
    stored = read_stored(tmp_path / "a.npy", trim=True)
    np.testing.assert_array_equal(stored.image[0], pixels[3:-3])
    assert stored.corner == (3, 0) and len(stored.notes) == 1
    pixels[50, 50] = np.nan
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(ImageError, match="301 NaN"):
        read_stored(tmp_path / "a.npy", trim=True)
