import pickle
import re
import tracemalloc

import numpy as np
import pytest
from ramps import SHAPE, ramp, save

from lensequiv.data import read_image


def npy_header(shape, descr="<f4", version=(1, 0)):
    """Bytes of an NPY header that claims a shape."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text


class TestNpy:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize(
        "dtype",
        [
            "u1",
            "i1",
            "<u2",
            ">u2",
            "<i2",
            ">i2",
            "<u4",
            ">u4",
            "<i4",
            ">i4",
            "<u8",
            ">u8",
            "<i8",
            ">i8",
            "<f2",
            ">f2",
            "<f4",
            ">f4",
            "<f8",
            ">f8",
            "longdouble",
        ],
    )
    def test_types_and_orders(self, tmp_path, dtype, order, assert_is):
        array = np.asarray(ramp(), dtype=dtype, order=order)
        image = read_image(save(tmp_path / "a.npy", array))
        assert_is(image, ramp()[None])

    @pytest.mark.parametrize(
        ("stored", "channels_last"),
        [
            ((1, 6, 5), False),
            ((4, 6, 5), False),
            ((1, 6, 1), False),
            ((6, 5, 1), True),
            ((3, 5, 1), True),
            ((6, 5, 3), True),
            ((6, 5, 4), True),
        ],
    )
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_channel_axis(self, tmp_path, stored, channels_last, order, assert_is):
        array = np.asarray(ramp(stored), order=order)
        expected = array.transpose(2, 0, 1) if channels_last else array
        assert_is(read_image(save(tmp_path / "a.npy", array)), expected)

    @pytest.mark.parametrize("version", [(1, 0), (2, 0)])
    def test_header_versions(self, tmp_path, version, assert_is):
        path = tmp_path / "a.npy"
        path.write_bytes(npy_header(SHAPE, "<f8", version) + ramp().tobytes())
        assert_is(read_image(path), ramp()[None])

    def test_version_3_is_refused(self, tmp_path, refuse):
        path = tmp_path / "a.npy"
        path.write_bytes(npy_header(SHAPE, "<f8", (3, 0)) + ramp().tobytes())
        refuse(path, "version 3.0")

    def test_large_integers_and_negative_pixels(self, tmp_path, assert_is):
        array = np.array([[2**62 + 1, -(2**40) - 1], [-3, 0]])
        image = read_image(save(tmp_path / "a.npy", array))
        assert_is(image, array.astype(np.float32)[None])

    def test_accepts_strings_and_upper_case(self, tmp_path, assert_is):
        save(tmp_path / "a.npy", ramp())
        (tmp_path / "a.npy").rename(tmp_path / "a.NPY")
        assert_is(read_image(str(tmp_path / "a.NPY")), ramp()[None])

    @pytest.mark.parametrize("shape", [(), (7,), (1, 1, 6, 5), (1, 1, 1, 6, 5)])
    def test_rank(self, tmp_path, shape, refuse):
        path = save(tmp_path / "a.npy", np.ones(shape))
        refuse(path, f"{len(shape)}-D array", str(shape), "(H, W)")

    @pytest.mark.parametrize("shape", [(0, 5), (1, 6, 0), (0, 0)])
    def test_empty(self, tmp_path, shape, refuse):
        refuse(save(tmp_path / "a.npy", np.ones(shape)), "empty array", str(shape))

    def test_too_many_channels(self, tmp_path, refuse):
        path = save(tmp_path / "a.npy", ramp((5, 6, 7)))
        refuse(path, "(5, 6, 7)", "too many channels", "at most 16")

    @pytest.mark.parametrize("dtype", ["?", "<c8", "<c16", "<U3", "S3", "<M8[s]"])
    def test_type(self, tmp_path, dtype, refuse):
        path = save(tmp_path / "a.npy", np.ones(SHAPE).astype("i8").astype(dtype))
        refuse(path, f"values of type {np.dtype(dtype)}", "integers or real")

    def test_structured_type(self, tmp_path, refuse):
        path = save(tmp_path / "a.npy", np.zeros(SHAPE, dtype=[("flux", "f4")]))
        refuse(path, "values of type [('flux', '<f4')]")

    @pytest.mark.filterwarnings("error")  # no RuntimeWarning beside the error
    @pytest.mark.parametrize(
        ("value", "count"), [(np.nan, 1), (np.inf, 2), (-np.inf, 3), (1e39, 4)]
    )
    def test_not_finite(self, tmp_path, value, count, refuse):
        array = ramp()
        array.flat[:count] = value
        pixels = "pixel" if count == 1 else "pixels"
        refuse(
            save(tmp_path / "a.npy", array), f"holds {count} NaN or infinite {pixels} "
        )

    def test_constant(self, tmp_path, refuse):
        refuse(save(tmp_path / "a.npy", np.full(SHAPE, 7)), "constant image", "is 7 ")

    def test_constant_in_each_channel(self, tmp_path, refuse):
        array = np.stack([np.full(SHAPE, 7), np.full(SHAPE, 8)])
        refuse(save(tmp_path / "a.npy", array), "constant image", "7, 8")

    def test_one_constant_channel_is_allowed(self, tmp_path, assert_is):
        array = np.stack([np.full(SHAPE, 7), ramp()])
        assert_is(read_image(save(tmp_path / "a.npy", array)), array)

    def test_constant_only_in_float32(self, tmp_path, refuse):
        array = 2**40 + ramp(dtype=np.int64)
        refuse(save(tmp_path / "a.npy", array), "constant image", "as float32")

    def test_structured_type_with_objects(self, tmp_path, refuse):
        array = np.zeros(SHAPE, dtype=[("flux", "f4"), ("note", "O")])
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        refuse(tmp_path / "a.npy", "object array")

    def test_large_files_are_mapped(self, tmp_path, assert_is):
        array = np.arange(2**21, dtype=">f8").reshape(1024, 2048)
        path = save(tmp_path / "a.npy", np.asfortranarray(array))
        tracemalloc.start()
        try:
            image = read_image(path)
            assert tracemalloc.get_traced_memory()[1] < 1.1 * image.nbytes
        finally:
            tracemalloc.stop()
        assert_is(image, array[None].astype(np.float32))

    def test_shared_header_does_not_share_pixels(self, tmp_path, assert_is):
        first = read_image(save(tmp_path / "a.npy", ramp(dtype=np.float32)))
        second = read_image(save(tmp_path / "b.npy", ramp(dtype=np.float32) + 1))
        assert_is(first, ramp()[None])
        assert_is(second, ramp()[None] + 1)

    def test_bare_pickle(self, tmp_path, refuse):
        path = tmp_path / "a.npy"
        path.write_bytes(pickle.dumps(ramp()))
        refuse(path, "not an NPY file", "numpy.save")

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", "empty file"),
            (b"0.1 0.2\n0.3 0.4\n", "begins with b'0.1 0.'"),
            (b"\x93NUM", "begins with b'\\x93NUM'"),
            (b"\x93NUMPY", "damaged NPY header"),
            (b"\x93NUMPY\x01\x00\x76\x00{'descr'", "damaged NPY header"),
            (b"\x93NUMPY\x01\x00\x08\x00((((((((", "damaged NPY header"),
            (b"\x93NUMPY\x01\x00\x07\x00{[]: 1}", "damaged NPY header"),
            (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "damaged NPY header"),
            (npy_header(SHAPE, "nonsense"), "damaged NPY header"),
            (b"\x93NUMPY\x09\x00" + bytes(60), "version 9.0"),
        ],
    )
    def test_not_npy(self, tmp_path, content, found, refuse):
        path = tmp_path / "a.npy"
        path.write_bytes(content)
        refuse(path, found)

    @pytest.mark.parametrize("cut", [1, 8, 240])
    def test_truncated(self, tmp_path, cut, refuse):
        path = save(tmp_path / "a.npy", ramp())
        path.write_bytes(path.read_bytes()[:-cut])
        refuse(path, f"holds {240 - cut} bytes", "240 bytes", "truncated")

    @pytest.mark.parametrize("shape", [(2**20, 2**20), (2**33, 2**33), (1, 2**62, 4)])
    def test_false_claims_cost_no_memory(self, tmp_path, shape, refuse):
        path = tmp_path / "a.npy"
        path.write_bytes(npy_header(shape) + bytes(100))
        tracemalloc.start()
        try:
            refuse(path, "holds 100 bytes", "header claims", str(shape))
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()

    def test_negative_shape(self, tmp_path, refuse):
        path = tmp_path / "a.npy"
        path.write_bytes(npy_header((-6, -5)) + ramp().tobytes())
        refuse(path, "(-6, -5)")

    def test_hdu_is_for_fits(self, tmp_path, refuse):
        refuse(save(tmp_path / "a.npy", ramp()), "plane 0", "FITS", hdu=0)


class TestPaths:
    @pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.fits", "a.h5", "a.png", "a"])
    def test_missing(self, tmp_path, name):
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / name))):
            read_image(tmp_path / name)

    @pytest.mark.parametrize("name", ["a.gif", "a.txt", "a", "npy", "a.npy.gz", ".gz"])
    def test_unknown_extension(self, tmp_path, name, refuse):
        (tmp_path / name).write_bytes(b"content")
        refuse(tmp_path / name, "no readable extension", ".npy, .npz, .fits")

    def test_folder(self, tmp_path, refuse):
        for name in ("a.npy", "a.npz", "a.fits", "a.h5", "a.png", "a"):
            (tmp_path / name).mkdir()
            refuse(tmp_path / name, "is a folder")
