"""Plain FITS files are read as astropy reads them; all others are left to it."""

import io

import numpy as np
import pytest
from astropy.io import fits

from lensequiv.data import ImageError, read_stored
from lensequiv.data.fits_single import read_single

PIXELS = np.random.default_rng(0).normal(100, 20, (40, 30))


def written(pixels, change=None, **header):
    """The bytes of a file, and what the change makes of them."""
    stream = io.BytesIO()
    hdu = fits.PrimaryHDU(pixels)
    hdu.header.update(header)
    hdu.writeto(stream)
    content = stream.getvalue()
    return content if change is None else change(content)


def single(content):
    return read_single(io.BytesIO(content), len(content))


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(40, 30), (3, 20, 20), (20, 30, 2), (1, 40, 30)])
def test_pixels_are_astropys(dtype, shape, tmp_path):
    pixels = PIXELS.ravel()[: np.prod(shape)].reshape(shape).astype(dtype)
    content = written(pixels, CD1_1=-1e-5, CD2_2=1e-5, CD1_2=0.0, CD2_1=0.0)
    found = single(content)
    expected = fits.getdata(io.BytesIO(content))
    assert found.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(found.pixels, expected)
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    plain, by_astropy = read_stored(path), read_stored(path, hdu=0)
    np.testing.assert_array_equal(plain.image, by_astropy.image)
    assert plain.pixel_scale == by_astropy.pixel_scale == pytest.approx(0.036)
    assert plain.plane == by_astropy.plane == "PRIMARY"
    assert plain.notes == by_astropy.notes == ()


def test_long_headers(tmp_path):
    header = {f"KEY{i}": f"value {i}" for i in range(200)} | {"PIXSCALE": 0.05}
    content = written(PIXELS, HISTORY="much", **header)
    assert single(content).start == 6 * 2880
    (tmp_path / "a.fits").write_bytes(content)
    assert read_stored(tmp_path / "a.fits").pixel_scale == 0.05


def test_a_mask_is_noted_as_before(tmp_path):
    content = written((PIXELS > 100).astype("u1"))
    assert single(content) is not None
    (tmp_path / "a.fits").write_bytes(content)
    assert "only the values 0 and 1" in read_stored(tmp_path / "a.fits").notes[0]


def with_extension():
    stream = io.BytesIO()
    mask = fits.ImageHDU(np.zeros(PIXELS.shape, "u1"), name="DQ")
    fits.HDUList([fits.PrimaryHDU(PIXELS), mask]).writeto(stream)
    return stream.getvalue()


UNUSUAL = {
    "extension": with_extension(),
    "unsigned": written(PIXELS.astype("u2")),
    "blank": written(PIXELS.astype("i2"), BLANK=-1),
    "name": written(PIXELS, EXTNAME="SCI"),
    "groups": written(PIXELS, GROUPS=True),
    "no image": written(None),
    "one axis": written(PIXELS[0]),
    "four axes": written(PIXELS[None, None]),
    "a row": written(PIXELS[:1]),
    "shorter": written(PIXELS, lambda c: c[:-1]),
    "much shorter": written(PIXELS, lambda c: c[:5000]),
    "header alone": written(PIXELS, lambda c: c[:2880]),
    "part of a header": written(PIXELS, lambda c: c[:2000]),
    "longer": written(PIXELS, lambda c: c + b" "),
    "keyword in small letters": written(
        PIXELS, lambda c: c.replace(b"EXTEND  =", b"extend  =")
    ),
    "not ASCII": written(PIXELS, lambda c: c.replace(b"EXTEND  =", b"EXT\xe4ND  =")),
    "SIMPLE is F": written(PIXELS, lambda c: c.replace(b"   T / conf", b"   F / conf")),
    "no number": written(PIXELS, lambda c: c.replace(b"  40 ", b" 4.0 ")),
    "negative side": written(PIXELS, lambda c: c.replace(b"  40 ", b" -40 ")),
    "larger side": written(PIXELS, lambda c: c.replace(b"  40 ", b"9940 ")),
    "unknown type": written(PIXELS, lambda c: c.replace(b" -64 ", b" -65 ")),
    "no END": written(PIXELS, lambda c: c.replace(b"END   ", b"ENDX  ")),
    "behind END": written(
        PIXELS, lambda c: c[:2000] + b"X" + c[2001:2800] + b"END".ljust(80) + c[2880:]
    ),
    "empty": b"",
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_is_unusual_is_left_to_astropy(case):
    assert single(UNUSUAL[case]) is None


def test_damage_is_told_as_before(tmp_path):
    (tmp_path / "a.fits").write_bytes(UNUSUAL["larger side"])
    with pytest.raises(ImageError, match=r"a\.fits can hold at most .* truncated"):
        read_stored(tmp_path / "a.fits")
