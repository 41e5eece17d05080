import sys
import tracemalloc

import numpy as np
import pytest

from lensequiv.data import read_image

h5py = pytest.importorskip("h5py")

RAMP = np.arange(30, dtype=np.float64).reshape(6, 5)


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name.replace("__", "/")] = values
    return path


@pytest.mark.parametrize("end", ["h5", "hdf5", "HDF"])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "<f4", ">f8"])
def test_only_image(tmp_path, end, dtype, assert_is):
    path = write(
        tmp_path / f"a.{end}", group__image=RAMP.astype(dtype), z=0.5, psf=np.ones(7)
    )
    assert_is(read_image(path), RAMP[None])


def test_lenstronomy(tmp_path, assert_is):
    path = write(tmp_path / "a.h5", image_data=RAMP, noise_map=RAMP * 2)
    assert_is(read_image(path), RAMP[None])
    assert_is(read_image(path, plane="/noise_map"), RAMP[None] * 2)


@pytest.mark.parametrize("shape", [(1, 6, 5), (6, 5, 1)])
def test_channels(tmp_path, shape, assert_is):
    assert_is(read_image(write(tmp_path / "a.h5", x=RAMP.reshape(shape))), RAMP[None])


@pytest.mark.parametrize("options", [{"chunks": (3, 5)}, {"compression": "gzip"}])
def test_chunked(tmp_path, options, assert_is):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=RAMP, **options)
    assert_is(read_image(tmp_path / "a.h5"), RAMP[None])


def test_choice(tmp_path, refuse):
    path = write(tmp_path / "a.h5", a=RAMP, b__c=RAMP, d=np.ones(3))
    refuse(path, "holds 2 planes that could be", "b/c: float64 (6, 5)", "plane='a'")
    refuse(path, "no data set 'e'", "d: float64 (3,)", plane="e")
    refuse(path, "1-D array", plane="d")
    refuse(write(tmp_path / "b.h5"), "holds no 2-D or 3-D image", "nothing")


def test_set_of_images(tmp_path, refuse):
    path = write(tmp_path / "a.h5", images=np.ones((9, 6, 5)), labels=np.zeros(9))
    refuse(path, "a stack of 9 images", "lensequiv.data.HDF5Images")


@pytest.mark.parametrize("dtype", ["?", "c8", "S3"])
def test_type(tmp_path, dtype, refuse):
    path = write(tmp_path / "a.h5", image_data=RAMP.astype(int).astype(dtype))
    refuse(path, "values of type")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_not_finite(tmp_path, value, refuse):
    path = write(tmp_path / "a.h5", x=np.where(RAMP == 7, value, RAMP))
    refuse(path, "1 NaN or infinite pixel ")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "can hold at most 0 bytes of /x, fewer than it claims"),
        ({"chunks": (64, 64)}, "claims 1099511627776 compressed pixels"),
    ],
)
def test_false_claims_cost_no_memory(tmp_path, options, found, refuse):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (2**20, 2**20), "f4", **options)
    tracemalloc.start()
    try:
        refuse(tmp_path / "a.h5", found)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_other_files_are_left_alone(tmp_path, refuse):
    other = write(tmp_path / "other.h5", x=RAMP)
    (tmp_path / "pixels").write_bytes(RAMP.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["linked"] = h5py.ExternalLink(str(other), "/x")
        external = [(str(tmp_path / "pixels"), 0, RAMP.nbytes)]
        file.create_dataset("outside", RAMP.shape, "f8", external=external)
        layout = h5py.VirtualLayout(RAMP.shape, "f8")
        layout[:] = h5py.VirtualSource(str(other), "x", RAMP.shape)
        file.create_virtual_dataset("virtual", layout)
    refuse(tmp_path / "a.h5", "holds no 2-D or 3-D image (nothing)")
    for name in ("linked", "outside", "virtual"):
        refuse(tmp_path / "a.h5", f"no data set '{name}'", plane=name)


def test_damaged(tmp_path, refuse):
    path = write(tmp_path / "a.h5", x=np.random.default_rng(0).random((60, 50)))
    content = path.read_bytes()
    for cut in (0, 4, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        refuse(path, "cannot be decoded", "complete HDF5 file")
    path.write_bytes(b"0.1 0.2 0.3\n")
    refuse(path, "cannot be decoded")


def test_without_h5py(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", x=RAMP)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'lensequiv\[hdf5\]'"):
        read_image(path)
