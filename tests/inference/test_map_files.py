"""Maps in files: FITS with the sky's coordinates, NPZ, NPY."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.data import celestial_header
from lensequiv.inference import SubstructureMap, check_map_output, write_maps
from lensequiv.spec import MapSpec

SPEC = MapSpec(4, 0.2, 0.25, 0.0405, 1e9, {"0.01": 0.8})
LAYERS = ("convergence", "lower", "upper", "presence")


def made(side=5, path=None, **changes):
    torch.manual_seed(side)
    given = {"left": 26.0, "top": 11.0, "step": 4.0, "cell": 0.2, "path": path}
    return SubstructureMap(*torch.rand(4, side, side), SPEC, **(given | changes))


def lens_in_the_sky(path, **cards):
    """An image of 0.05 arcsec per pixel, turned on the sky."""
    fits = pytest.importorskip("astropy.io.fits")
    angle, scale = np.radians(30), 0.05 / 3600
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 149.5, 2.2
    header["CRPIX1"], header["CRPIX2"] = 75.5, 60.5
    header["CD1_1"] = -scale * np.cos(angle)
    header["CD1_2"] = header["CD2_1"] = scale * np.sin(angle)
    header["CD2_2"] = scale * np.cos(angle)
    header.update(cards)
    rng = np.random.default_rng(0)
    image = rng.random((120, 150)).astype(np.float32)
    fits.PrimaryHDU(image, header).writeto(path)
    return path


def test_fits_has_the_sky_of_the_image(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    from astropy.wcs import WCS

    path = lens_in_the_sky(tmp_path / "lens.fits")
    one = made(path=str(path), notes=["odd \u00b5"])
    out = write_maps([one], tmp_path / "map.fits")
    with fits.open(path) as hdus:
        sky = WCS(hdus[0].header)
    with fits.open(out) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", *map(str.upper, LAYERS)]
        for name in LAYERS:
            header, values = hdus[name].header, hdus[name].data
            assert np.array_equal(values, getattr(one, name).numpy())
            assert (header["MAPRAD"], header["MAPMASS"]) == (0.25, 1e9)
            for row, column in ((0, 0), (4, 1)):
                expected = sky.pixel_to_world(26 + 4 * column, 11 + 4 * row)
                found = WCS(header).pixel_to_world(column, row)
                assert found.separation(expected).arcsec < 1e-6


def test_the_whole_way_from_a_fits_image(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    from astropy.wcs import WCS

    path = lens_in_the_sky(tmp_path / "lens.fits")
    small = {"stem_fields": 2, "stages": ((2,), (2,), (3,)), "map_fields": 2}
    model = lensequiv.create_model("c4", **small).set_input_size(97)
    model.pixel_scale, model.map_spec = 0.05, SPEC
    (one,) = model.predict_map(path)
    write_maps([one], tmp_path / "map.fits")
    with fits.open(tmp_path / "map.fits") as hdus:
        # The central pixel of the crop of rows 11 to 107, columns 26 to 122.
        found = WCS(hdus[1].header).pixel_to_world(12, 12)
    with fits.open(path) as hdus:
        expected = WCS(hdus[0].header).pixel_to_world(74, 59)
    assert found.separation(expected).arcsec < 1e-6


def test_without_a_sky_lengths_are_arcsec_from_the_centre(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    image = np.random.default_rng(0).random((97, 97))
    fits.PrimaryHDU(image).writeto(tmp_path / "bare.fits")
    for path in (None, str(tmp_path / "bare.fits"), "set.h5[3]"):
        out = write_maps([made(path=path)], tmp_path / "map.fits")
        header = fits.getheader(out, "PRESENCE")
        assert (header["CRPIX1"], header["CRVAL1"], header["CDELT1"]) == (3, 0, 0.2)
        assert header["CUNIT1"] == "arcsec"


def test_coordinates_of_other_headers(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    plain = lens_in_the_sky(tmp_path / "lens.fits")
    sky = fits.getheader(plain)
    data = fits.getdata(plain)
    # In an extension, with the coordinates in the primary header alone.
    hdus = [fits.PrimaryHDU(header=sky), fits.ImageHDU(data, name="SCI")]
    fits.HDUList(hdus).writeto(tmp_path / "two.fits")
    packed = tmp_path / "lens.fits.gz"
    fits.PrimaryHDU(data, sky).writeto(packed)
    expected = celestial_header(plain, left=3, top=2, step=2)
    for other in (tmp_path / "two.fits", packed):
        found = celestial_header(other, left=3, top=2, step=2)
        for key in ("CRPIX1", "CRPIX2", "CRVAL1", "PC1_1", "PC1_2"):
            assert found[key] == expected[key]
    assert celestial_header(tmp_path / "none.npy") is None
    with pytest.raises(lensequiv.data.ImageError, match="no HDU 'SCI'"):
        celestial_header(plain, hdu="SCI")


def test_npz_and_npy(tmp_path):
    maps = [made(), replace(made(), path="b.npy", left=3.5)]
    with np.load(write_maps(maps, tmp_path / "maps.npz")) as stored:
        for name in LAYERS:
            expected = torch.stack([getattr(one, name) for one in maps]).numpy()
            assert np.array_equal(stored[name], expected)
        assert stored["left"].tolist() == [26.0, 3.5]
        assert stored["path"].tolist() == ["", "b.npy"]
        assert stored["cell"].tolist() == [0.2, 0.2]
    values = np.load(write_maps(maps, tmp_path / "maps.npy"))
    assert values.shape == (2, 4, 5, 5)
    assert np.array_equal(values[1, 3], maps[1].presence.numpy())


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    for name in ("maps.npz", "maps.npy"):
        with pytest.raises(ValueError, match="5 x 5, 7 x 7 cells; expected one size"):
            write_maps([made(5), made(7)], tmp_path / name)
    with pytest.raises(ValueError, match=r"ends in '.png'; expected one of .fits"):
        check_map_output(tmp_path / "map.png", 1)
    with pytest.raises(ValueError, match="no maps"):
        write_maps([], tmp_path / "map.npz")
    assert list(tmp_path.iterdir()) == []
    fits = pytest.importorskip("astropy.io.fits")
    out = write_maps([made(5), made(7)], tmp_path / "maps.fits")
    with fits.open(out) as hdus:
        assert hdus["PRESENCE", 2].shape == (7, 7) and len(hdus) == 9
