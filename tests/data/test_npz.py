import tracemalloc
import zipfile

import numpy as np
import pytest

from lensequiv.data import ImageError, read_image

RAMP = np.arange(30, dtype=np.float64).reshape(6, 5)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_only_image(tmp_path, save, assert_is):
    save(tmp_path / "a.npz", z=0.5, psf=np.ones(7), image=RAMP, note=np.array("text"))
    assert_is(read_image(tmp_path / "a.npz"), RAMP[None])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "<f4", ">f8"])
def test_types_and_orders(tmp_path, dtype, order, assert_is):
    np.savez_compressed(tmp_path / "a.npz", np.asarray(RAMP, dtype, order=order))
    assert_is(read_image(tmp_path / "a.npz"), RAMP[None])


def test_named(tmp_path, assert_is, refuse):
    path = tmp_path / "a.npz"
    np.savez(path, image=RAMP, error=RAMP * 2, table=np.zeros(3))
    assert_is(read_image(path), RAMP[None])
    assert_is(read_image(path, plane="error"), RAMP[None] * 2)
    assert_is(read_image(path, plane="image.npy"), RAMP[None])
    refuse(path, "has no array 'sky'", "table: float64 (3,)", plane="sky")
    refuse(path, "1-D array", plane="table")


def test_no_image(tmp_path, refuse):
    np.savez(tmp_path / "a.npz", a=np.ones(3), b=np.ones((6, 5), complex))
    refuse(tmp_path / "a.npz", "holds values of type complex128")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    refuse(tmp_path / "b.npz", "holds no 2-D or 3-D image (nothing)")


def test_several_that_could_be(tmp_path, refuse):
    np.savez(tmp_path / "a.npz", x=RAMP, y=RAMP)
    refuse(tmp_path / "a.npz", "holds 2 planes that", "y: float64 (6, 5)", "plane='x'")


def test_object_array_is_not_unpickled(tmp_path, refuse):
    pair = np.empty(2, dtype=object)
    pair[:] = [RAMP, 1e-22]
    np.savez(tmp_path / "a.npz", pair=pair)
    refuse(tmp_path / "a.npz", "object array", plane="pair")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_not_finite(tmp_path, value, refuse):
    np.savez(tmp_path / "a.npz", np.where(RAMP == 7, value, RAMP))
    refuse(tmp_path / "a.npz", "1 NaN or infinite pixel ")


@pytest.mark.parametrize("content", [b"", b"0.1 0.2", b"PK\x03\x04" + bytes(40)])
def test_no_archive(tmp_path, content, refuse):
    (tmp_path / "a.npz").write_bytes(content)
    refuse(tmp_path / "a.npz", "cannot be decoded", "numpy.savez")


def test_truncated(tmp_path, refuse):
    np.savez(tmp_path / "a.npz", RAMP)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[:300])
    refuse(tmp_path / "a.npz", "cannot be decoded", "BadZipFile")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_pixels(tmp_path, save, refuse):
    save(tmp_path / "a.npz", np.random.default_rng(0).random((40, 30)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[4000] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    refuse(tmp_path / "a.npz", "cannot be decoded")


def member(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("image.npy", content)
    return path


def npy(shape):
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def test_text_in_archive(tmp_path, refuse):
    with pytest.raises(ImageError, match=r"a\.npz\[image\] is not an NPY file"):
        read_image(member(tmp_path / "a.npz", b"hello world"))


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((8000, 8000), "holds 1000 bytes of pixels, fewer than its header claims"),
        ((2**20, 2**20), "claims 1099511627776 compressed pixels"),
        ((5, 5), "holds more bytes than its header claims"),
    ],
)
def test_false_claims_cost_no_memory(tmp_path, shape, found):
    path = member(tmp_path / "a.npz", npy(shape) + bytes(1000))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=found) as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path}[image]")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_archive_that_claims_more_than_it_holds(tmp_path, refuse):
    path = member(tmp_path / "a.npz", npy((600, 500)) + bytes(1000))
    content = path.read_bytes()
    old, new = (1128).to_bytes(4, "little"), (1_200_128).to_bytes(4, "little")
    assert content.count(old) == 2  # before the member and in the directory
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ImageError, match=r"cannot be decoded|holds 1000 bytes"):
        read_image(path)


def test_unusual_compressor(tmp_path):
    path = member(tmp_path / "a.npz", npy((6, 5)) + bytes(120), zipfile.ZIP_BZIP2)
    with pytest.raises(ImageError, match="unusual method"):
        read_image(path)
