"""One word for the planes of all files, and FITS's own word for those of FITS."""

import h5py
import numpy as np
import pytest
from astropy.io import fits

from lensequiv.data import (
    ClassFolder,
    ImageError,
    open_dataset,
    open_stack,
    read_image,
    read_stored,
)
from lensequiv.inference import source_of

RAMP = np.arange(30.0, dtype=np.float32).reshape(6, 5)


@pytest.fixture
def files(tmp_path):
    """Files of three formats with two images each, `a` and `b`."""
    planes = {"a": RAMP, "b": RAMP * 2}
    np.savez(tmp_path / "x.npz", **planes)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.update(planes)
    hdus = [fits.ImageHDU(image, name=name) for name, image in planes.items()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "x.fits")
    return tmp_path


@pytest.mark.parametrize("name", ["x.npz", "x.h5", "x.fits"])
def test_plane_is_for_every_format(files, name):
    np.testing.assert_array_equal(read_image(files / name, plane="b")[0], RAMP * 2)
    (image,) = source_of(files / name, plane="b").load(0).image
    np.testing.assert_array_equal(image, RAMP * 2)


def test_hdu_is_for_fits(files):
    for hdu in (2, "b", "2", ("B", 1)):
        np.testing.assert_array_equal(
            read_image(files / "x.fits", hdu=hdu), read_image(files / "x.fits", plane=2)
        )


@pytest.mark.parametrize("read", [read_image, read_stored, open_stack, source_of])
@pytest.mark.parametrize("name", ["x.npz", "x.h5"])
def test_arrays_are_no_hdus(files, name, read):
    with pytest.raises(ImageError, match=r"x\.\w+ has no HDUs.* plane='b'"):
        read(files / name, hdu="b")


def test_a_folder_says_so_at_once(files):
    (files / "one").mkdir()
    (files / "x.npz").rename(files / "one" / "x.npz")
    for opened in (ClassFolder, open_dataset):
        with pytest.raises(ImageError, match=r"x\.npz has no HDUs.* plane='b'"):
            opened(files, hdu="b")


def test_one_of_both(files):
    with pytest.raises(ValueError, match="plane='a' and hdu='b': expected one"):
        read_image(files / "x.fits", plane="a", hdu="b")
    with pytest.raises(TypeError, match=r"plane is 1\.5; expected a number, a name"):
        read_image(files / "x.fits", plane=1.5)


@pytest.mark.parametrize("keyword", ["plane", "hdu"])
def test_an_array_has_no_planes(keyword):
    with pytest.raises(ValueError, match=f"{keyword}='b' is for files"):
        source_of(RAMP, **{keyword: "b"})
