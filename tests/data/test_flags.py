"""Planes that flag pixels: they are counted and said, and never applied."""

import numpy as np
import pytest

from lensequiv.data import read_image, read_stored

fits = pytest.importorskip("astropy.io.fits")
RAMP = np.arange(30.0).reshape(6, 5)


def write(path, *planes, primary=None, header=None):
    hdus = [fits.PrimaryHDU()]
    hdus[0].header.update(primary or {})
    for name, version, array in (("SCI", 1, RAMP), *planes):
        hdus.append(fits.ImageHDU(np.asarray(array), name=name, ver=version))
    hdus[-1].header.update(header or {})
    fits.HDUList(hdus).writeto(path)
    return path


def bits(*values):
    plane = np.zeros((6, 5), np.int32)
    plane.flat[: len(values)] = values
    return plane


@pytest.mark.parametrize("name", ["DQ", "FLAG", "BPM", "SCI_FLAGS", "MASK"])
def test_data_quality(tmp_path, name):
    path = write(tmp_path / "a.fits", (name, 1, bits(4, 1024, 1)))
    stored = read_stored(path)
    np.testing.assert_array_equal(stored.image[0], RAMP)
    assert stored.notes == (
        f"the plane {name} flags 3 of 30 pixels, which were used as they are",
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("DQ", bits()),
        ("MASK", bits()),
        ("MASK", np.ones((6, 5), np.uint8)),
        ("WHT", RAMP + 1),
        ("VIS_DQ", bits(1)),
        ("DQ", np.ones((3, 3), np.int16)),
        ("ERR", RAMP * 0),
    ],
)
def test_nothing_to_say(tmp_path, name, plane):
    path = write(tmp_path / "a.fits", (name, 1, plane))
    assert read_stored(path).notes == ()
    np.testing.assert_array_equal(read_image(path)[0], RAMP)


def test_webb(tmp_path):
    """Only the first bit, DO_NOT_USE, makes a pixel of Webb unusable."""
    path = write(
        tmp_path / "a.fits", ("DQ", 1, bits(1, 4, 5)), primary={"TELESCOP": "JWST"}
    )
    (note,) = read_stored(path).notes
    assert "DQ flags as unusable 2 of 30 pixels" in note


def test_lsst(tmp_path):
    header = {"MP_BAD": 0, "MP_SAT": 1, "MP_DETECTED": 5}
    plane = bits(1, 2, 32, 32)
    path = write(tmp_path / "a.fits", ("MASK", 1, plane), header=header)
    (note,) = read_stored(path).notes
    assert "MASK flags as unusable 2 of 30 pixels" in note


@pytest.mark.parametrize("inverted", [False, True])
def test_either_polarity(tmp_path, inverted):
    plane = bits(1, 1)
    plane = 1 - plane if inverted else plane
    path = write(tmp_path / "a.fits", ("MASK", 1, plane.astype("f8")))
    (note,) = read_stored(path).notes
    counts = "2 are 0, 28 are 1" if inverted else "28 are 0, 2 are 1"
    assert counts in note and "not applied" in note


def test_weights(tmp_path):
    weights = RAMP + 1
    weights[0, :3] = 0, np.nan, 0
    (note,) = read_stored(write(tmp_path / "a.fits", ("WHT", 1, weights))).notes
    assert "WHT gives no weight to 3 of 30 pixels" in note


def test_version(tmp_path):
    path = write(
        tmp_path / "a.fits",
        ("DQ", 1, bits(1)),
        ("SCI", 2, RAMP * 2),
        ("DQ", 2, bits(1, 1)),
    )
    (note,) = read_stored(path, hdu="SCI,2").notes
    assert "DQ,2 flags 2 of 30" in note


def test_read_image_warns(tmp_path):
    path = write(tmp_path / "a.fits", ("DQ", 1, bits(4)))
    with pytest.warns(UserWarning, match="read_stored") as caught:
        read_image(path)
    assert caught[0].filename == __file__


def test_mask_that_no_name_tells_of(tmp_path):
    fits.writeto(tmp_path / "a.fits", (RAMP > 7).astype("u1"))
    assert read_stored(tmp_path / "a.fits").notes == (
        "it takes only the values 0 and 1, as a mask does",
    )


def test_npz_and_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    np.savez(tmp_path / "a.npz", image=RAMP, mask=bits(1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image_data"], file["dq"] = RAMP, bits(2, 2)
    assert "28 are 0" not in read_stored(tmp_path / "a.npz").notes[0]
    assert "29 are 0, 1 are 1" in read_stored(tmp_path / "a.npz").notes[0]
    assert "dq flags 2 of 30" in read_stored(tmp_path / "a.h5").notes[0]


@pytest.mark.parametrize("attribute", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_fill_value(tmp_path, attribute, dtype, refuse):
    h5py = pytest.importorskip("h5py")
    array = RAMP.astype(dtype)
    array[1, :2] = -999
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = array
        file["image"].attrs[attribute] = np.array([-999], dtype)
    refuse(tmp_path / "a.h5", "2 NaN or infinite pixels")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["image"] = array
        file["image"].attrs[attribute] = "none"
    refuse(tmp_path / "b.h5", f"has {attribute} of type", "a number")
