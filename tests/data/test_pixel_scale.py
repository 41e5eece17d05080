"""Pixel scales from headers, against astropy's own reading of the same headers."""

import json
import math

import numpy as np
import pytest

from lensequiv.data import open_stack, read_stored

fits = pytest.importorskip("astropy.io.fits")
RAMP = np.arange(30.0).reshape(6, 5)
SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
DEG = 0.05 / 3600
COS, SIN = math.cos(0.4), math.sin(0.4)


def scale(path, header=None, primary=None, array=RAMP):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(array, name="SCI")]
    hdus[0].header.update(primary or {})
    hdus[1].header.update(header or {})
    fits.HDUList(hdus).writeto(path, overwrite=True)
    stored = read_stored(path)
    return stored.pixel_scale, stored.notes


LINEAR = {
    "CD": {"CD1_1": -DEG, "CD2_2": DEG, "CD1_2": 0.0, "CD2_1": 0.0},
    "rotated CD": {
        "CD1_1": -DEG * COS,
        "CD1_2": DEG * SIN,
        "CD2_1": DEG * SIN,
        "CD2_2": DEG * COS,
    },
    "CDELT": {"CDELT1": -DEG, "CDELT2": DEG},
    "CDELT and CROTA2": {"CDELT1": -DEG, "CDELT2": DEG, "CROTA2": 30.0},
    "CDELT and PC": {
        "CDELT1": -DEG,
        "CDELT2": DEG,
        "PC1_1": COS,
        "PC1_2": -SIN,
        "PC2_1": SIN,
        "PC2_2": COS,
    },
    "PC alone": {"PC1_1": -DEG, "PC2_2": DEG},
    "CD, PC and CDELT = 1 (Euclid)": {
        "CD1_1": -DEG,
        "CD2_2": DEG,
        "CDELT1": 1.0,
        "CDELT2": 1.0,
    },
    "arcsec": {"CDELT1": -0.05, "CDELT2": 0.05, "CUNIT1": "arcsec", "CUNIT2": "arcsec"},
    "mas": {"CDELT1": -50.0, "CDELT2": 50.0, "CUNIT1": "mas", "CUNIT2": "mas"},
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("place", ["own", "primary"])
def test_coordinates(tmp_path, name, place):
    from astropy import units
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    header = fits.Header({**SKY, **LINEAR[name]})
    wcs = WCS(header)
    sides = [
        side * units.Unit(unit).to("arcsec")
        for side, unit in zip(proj_plane_pixel_scales(wcs), wcs.wcs.cunit, strict=True)
    ]
    np.testing.assert_allclose(sides, 0.05)
    found, notes = scale(
        tmp_path / "a.fits", **{"header" if place == "own" else "primary": header}
    )
    assert found == pytest.approx(0.05, rel=1e-9)
    assert notes == ()


def test_cube(tmp_path):
    """The third axis may be a wavelength."""
    header = SKY | LINEAR["CD"] | {"CTYPE3": "WAVE", "CD3_3": 1e-9, "CUNIT3": "m"}
    assert scale(tmp_path / "a.fits", header, array=np.stack([RAMP] * 3))[0] == (
        pytest.approx(0.05)
    )


def test_not_square(tmp_path):
    header = SKY | {"CDELT1": -DEG, "CDELT2": 4 * DEG}
    found, notes = scale(tmp_path / "a.fits", header)
    assert found == pytest.approx(0.1)
    assert notes == ("its pixels measure 0.05 by 0.2 arcsec: they are not square",)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"CDELT1": 1.0, "CDELT2": 1.0},
        {"CD1_1": 1.0, "CD2_2": 1.0},
        SKY,
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CDELT1": DEG, "CDELT2": DEG},
        SKY | {"CDELT1": 0.0, "CDELT2": 0.0},
        SKY | {"CDELT1": DEG, "CDELT2": DEG, "CUNIT1": "pixel", "CUNIT2": "pixel"},
        {"PIXSCALE": "unknown"},
        {"PIXSCALE": 0.0},
        {"PIXSCALE": 1.4e-5},
        {"BSCALE": 0.05},
    ],
)
def test_no_scale(tmp_path, header):
    assert scale(tmp_path / "a.fits", header) == (None, ())


@pytest.mark.parametrize(
    "header",
    [
        {"PIXSCALE": 0.05},
        {"PIXSCALE": "0.05"},
        {"PIXSCAY": 0.05, "PIXSCAX": 0.05},
        {"PIXSCAL1": 0.05, "PIXSCAL2": 0.05},
        {"PIXELSCL": 0.05},
        {"D001SCAL": 0.05},
        {"SECPIX": 0.05},
        {"SECPIX1": -0.05, "SECPIX2": 0.05},
        {"SCALE": 0.05},
        {"PIXAR_A2": 0.0025},
        {"PIXAR_SR": (0.05 / 206264.80624709636) ** 2},
    ],
)
@pytest.mark.parametrize("place", ["header", "primary"])
def test_keywords(tmp_path, header, place):
    found, notes = scale(tmp_path / "a.fits", **{place: header})
    assert found == pytest.approx(0.05, rel=1e-9) and notes == ()


def test_contradiction(tmp_path):
    header = SKY | LINEAR["CD"] | {"PIXSCALE": 0.03}
    found, notes = scale(tmp_path / "a.fits", header)
    assert found == pytest.approx(0.05)
    assert notes == (
        "its header tells pixel scales of 0.05 arcsec (coordinate system, used) and"
        " 0.03 arcsec (PIXSCALE)",
    )
    header["PIXSCALE"] = 0.051
    assert scale(tmp_path / "a.fits", header)[1] == ()


def test_primary_with_another_image(tmp_path):
    """A PSF in the primary HDU has a scale of its own."""
    psf = fits.PrimaryHDU(RAMP[:3, :3] + 1, fits.Header({"PIXSCALE": 0.01}))
    psf.name = "PSF"
    fits.HDUList([psf, fits.ImageHDU(RAMP, name="SCI")]).writeto(tmp_path / "a.fits")
    assert read_stored(tmp_path / "a.fits").pixel_scale is None


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1"])
def test_fpacked(tmp_path, compression):
    image = fits.CompImageHDU(RAMP.astype("i2"), compression_type=compression)
    image.header.update(SKY | LINEAR["rotated CD"])
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "a.fits.fz")
    stored = read_stored(tmp_path / "a.fits.fz")
    assert stored.pixel_scale == pytest.approx(0.05)
    np.testing.assert_array_equal(stored.image[0], RAMP)


@pytest.mark.parametrize(
    "values",
    [
        {"pixel_scale": 0.05},
        {"deltaPix": 0.05},
        {"pixel_width": np.array([0.05])},
        {"pixel_scale": "0.05"},
        {"transform_pix2angle": np.array([[-0.03, 0.04], [0.04, 0.03]])},
        {"manifest": json.dumps({"recipe": {"pixel_scale": 0.05}})},
    ],
)
@pytest.mark.parametrize("place", ["file", "image", "beside"])
def test_hdf5(tmp_path, values, place):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image_data"] = RAMP
        target = {"file": file.attrs, "image": file["image_data"].attrs, "beside": file}
        for name, value in values.items():
            target[place][name] = value
    expected = None if place == "beside" and "manifest" in values else 0.05
    if place == "beside" and values.get("pixel_scale") == "0.05":
        expected = None  # text is no small array of numbers
    found = read_stored(tmp_path / "a.h5").pixel_scale
    assert found == (None if expected is None else pytest.approx(expected))


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", image=RAMP, pixel_scale=0.05)
    assert read_stored(tmp_path / "a.npz").pixel_scale == 0.05
    np.savez(tmp_path / "b.npz", images=np.stack([RAMP] * 3), deltaPix=0.05)
    assert open_stack(tmp_path / "b.npz").read(1).pixel_scale == 0.05


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"recipe": {"pixel_scale": 0.05}}, 0.05),
        ({"recipe": {}}, None),
        ([1], None),
        ("text", None),
    ],
)
def test_folder_of_simulated_images(tmp_path, manifest, expected):
    (tmp_path / "no").mkdir()
    np.save(tmp_path / "no" / "0.npy", RAMP)
    assert read_stored(tmp_path / "no" / "0.npy").pixel_scale is None
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert read_stored(tmp_path / "no" / "0.npy").pixel_scale == expected


@pytest.mark.parametrize("keyword", ["PIXELSCALE", "PIXEL_SCALE", "ESO INS PIXSCALE"])
def test_long_keywords(tmp_path, keyword):
    assert scale(tmp_path / "a.fits", {f"HIERARCH {keyword}": 0.2}) == (0.2, ())
