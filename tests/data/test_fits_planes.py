"""Which HDU is read; the values of each plane tell which one it was."""

import numpy as np
import pytest

from lensequiv.data import read_image, read_stored

fits = pytest.importorskip("astropy.io.fits")
RAMP = np.arange(30.0).reshape(6, 5)


def write(path, *planes):
    """Planes are (name, version, factor or array)."""
    hdus = [fits.PrimaryHDU()]
    for i, (name, version, content) in enumerate(planes):
        array = content if isinstance(content, np.ndarray) else RAMP * content
        kind = fits.PrimaryHDU if i == 0 and name == "PRIMARY" else fits.ImageHDU
        hdu = kind(array)
        if name not in ("", "PRIMARY"):
            hdu.name = name
        hdu.ver = version
        hdus[0:1] = [hdu] if kind is fits.PrimaryHDU else hdus[0:1]
        if kind is fits.ImageHDU:
            hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


AUXILIARY = """
    MASK WHT WEIGHT ERR ERROR DQ PSF CON CTX VAR VARIANCE VAR_POISSON RMS NOISE_MAP
    NOISEMAP noiseMap SEG SEGMENTATION EXPTIME BKG BACKGROUND MODEL IVAR INVVAR FLAG MSK
    WGT UNCERT PSFIMAGE RESIDUAL IMAGE_MASK SCI_ERR VIS_RMS ERR2 CHI2 AREA D2IMARR SIGMA
"""


@pytest.mark.filterwarnings("ignore:beside the image lie planes")
@pytest.mark.parametrize("name", AUXILIARY.split())
@pytest.mark.parametrize("image", ["SCI", "DATA", "IMAGE", "VIS_BGSUB", "F814W", ""])
def test_auxiliary_planes_are_passed_over(tmp_path, name, image):
    other = RAMP[::-1] * 2
    path = write(tmp_path / "a.fits", (name, 1, other), (image, 1, 3))
    np.testing.assert_array_equal(read_image(path)[0], RAMP * 3)
    path = write(tmp_path / "b.fits", (image, 1, 3), (name, 1, other))
    np.testing.assert_array_equal(read_image(path)[0], RAMP * 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 5)])
def test_dummy_primary(tmp_path, shape):
    path = write(tmp_path / "a.fits", ("PRIMARY", 1, np.zeros(shape)), ("X", 1, 2))
    np.testing.assert_array_equal(read_image(path)[0], RAMP * 2)


@pytest.mark.parametrize(
    ("planes", "listed"),
    [
        ([("SCI", 1, 1), ("SCI", 2, 2)], ["1 SCI,1: (6, 5)", "2 SCI,2: (6, 5)"]),
        ([("", 1, 1), ("", 1, 2)], ["1 unnamed: (6, 5)", "2 unnamed"]),
        ([("PRIMARY", 1, 1), ("F814W", 1, 2)], ["0 PRIMARY: (6, 5)", "1 F814W"]),
        ([("SCI", 1, 1), ("DATA", 1, 2)], ["1 SCI", "2 DATA"]),
    ],
)
def test_two_that_could_be(tmp_path, planes, listed, refuse):
    path = write(tmp_path / "a.fits", *planes)
    refuse(path, "2 planes that could be the image", "plane=", *listed)


def test_units_are_listed(tmp_path, refuse):
    path = write(tmp_path / "a.fits", ("G", 1, 1), ("R", 1, 2))
    with fits.open(path, mode="update") as hdus:
        hdus[2].header["BUNIT"] = "ELECTRONS/S"
    refuse(path, "2 R: (6, 5) ELECTRONS/S")


@pytest.mark.parametrize("name", ["PSF", "MASK", "ERR"])
def test_auxiliary_plane_alone(tmp_path, name, refuse):
    path = write(tmp_path / "a.fits", (name, 1, 1))
    refuse(path, "only masks, weights, PSFs", f"1 {name}: (6, 5)", "plane=1")
    np.testing.assert_array_equal(read_image(path, hdu=name)[0], RAMP)


def test_kind_beside_the_name(tmp_path):
    """LSST and ESO files say it in EXTTYPE and HDUCLAS2."""
    path = write(tmp_path / "a.fits", ("A", 1, 1), ("B", 1, 2), ("C", 1, 3))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["EXTTYPE"] = "VARIANCE"
        hdus[2].header["HDUCLAS2"] = "QUALITY"
    np.testing.assert_array_equal(read_image(path)[0], RAMP * 3)


@pytest.mark.parametrize(
    ("hdu", "factor", "plane"),
    [
        (1, 1, "SCI,1"),
        ("1", 1, "SCI,1"),
        (np.int64(3), 3, "SCI,2"),
        (-1, 4, "4"),
        ("-2", 3, "SCI,2"),
        ("SCI,2", 3, "SCI,2"),
        ("sci, 1", 1, "SCI,1"),
        ("err", 2, "ERR"),
        ("ERR,1", 2, "ERR"),
        (" 4 ", 4, "4"),
        (("SCI", 2), 3, "SCI,2"),
        (["sci", 1], 1, "SCI,1"),
    ],
)
def test_hdu(tmp_path, hdu, factor, plane):
    path = write(
        tmp_path / "a.fits", ("SCI", 1, 1), ("ERR", 1, 2), ("SCI", 2, 3), ("", 1, 4)
    )
    stored = read_stored(path, hdu=hdu)
    np.testing.assert_array_equal(stored.image[0], RAMP * factor)
    assert stored.plane == plane


@pytest.mark.parametrize("hdu", [5, -6, "5", "-6", "SCI,3", "DATA", "", ",", "SCI,x"])
def test_missing_hdu(tmp_path, hdu, refuse):
    path = write(
        tmp_path / "a.fits", ("SCI", 1, 1), ("ERR", 1, 2), ("SCI", 2, 3), ("", 1, 4)
    )
    refuse(path, f"has no HDU {hdu!r}", "3 SCI,2: (6, 5)", "4 unnamed", hdu=hdu)


def test_name_of_several(tmp_path, refuse):
    path = write(tmp_path / "a.fits", ("SCI", 1, 1), ("SCI", 2, 3))
    refuse(path, "has 2 HDUs 'SCI'", "1 SCI,1", "2 SCI,2", hdu="SCI")


@pytest.mark.parametrize("hdu", [True, 1.5, ("SCI", 2, 1), (1, 2)])
def test_type_of_hdu(tmp_path, hdu):
    path = write(tmp_path / "a.fits", ("SCI", 1, 1))
    with pytest.raises(TypeError, match="expected a number, a name"):
        read_image(path, hdu=hdu)


def test_many_planes_are_listed(tmp_path, refuse):
    """The layout of Euclid's Q1 lenses: 8 bands with PSF and RMS each."""
    bands = ["DES_G", "DES_R", "VIS", "DES_I", "DES_Z", "NIR_Y", "NIR_J", "NIR_H"]
    planes = [
        (f"{band}_{kind}", 1, 1) for band in bands for kind in ("BGSUB", "PSF", "RMS")
    ]
    path = write(tmp_path / "a.fits", *planes)
    refuse(path, "8 planes", "1 DES_G_BGSUB", "7 VIS_BGSUB", "22 NIR_H_BGSUB")
