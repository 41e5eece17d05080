"""Pairs of image and mass in pickles, however NumPy wrote them."""

import pickle
import struct

import numpy as np
import pytest
from handmade_pickles import array, pair_by_python_2, write

from lensequiv.data import read_image, read_image_and_mass

MASS = 1.5e-23
RAMP = np.arange(30, dtype=np.float64).reshape(6, 5)


def pair(image, mass=MASS):
    array = np.empty(2, dtype=object)
    array[:] = [image, mass]
    return array


def nested(image, mass=MASS):
    array = np.empty((), dtype=object)
    array[()] = [image, mass]
    return array


def rename(payload, old, new):
    """Put the modules of another NumPy into a pickle of a single frame, if any."""
    for module in ("multiarray", "numeric"):
        was, becomes = f"{old}.{module}".encode(), f"{new}.{module}".encode()
        payload = payload.replace(
            b"\x8c" + bytes([len(was)]) + was, b"\x8c" + bytes([len(becomes)]) + becomes
        ).replace(b"c" + was + b"\n", b"c" + becomes + b"\n")
    if payload[2:3] == b"\x95":
        payload = payload[:3] + struct.pack("<Q", len(payload) - 11) + payload[11:]
    return payload


class TestPairs:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
    @pytest.mark.parametrize("build", [pair, nested])
    def test_protocols(self, tmp_path, protocol, package, build, assert_is):
        array = build(RAMP)
        here = "numpy._core" if np.__version__ >= "2" else "numpy.core"
        payload = rename(pickle.dumps(array, protocol), here, package)
        assert package.encode() + b".multiarray" in payload
        path = write(tmp_path / "a.npy", payload, array.shape)
        image, mass = read_image_and_mass(path)
        assert_is(image, RAMP[None])
        assert type(mass) is float and mass == MASS
        assert_is(read_image(path), RAMP[None])

    @pytest.mark.parametrize("protocol", [2, 5])
    @pytest.mark.parametrize("dtype", ["u1", ">i2", "<i8", "<f2", ">f4", ">f8"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_types_and_orders(self, tmp_path, protocol, dtype, order, assert_is):
        image = np.asarray(RAMP, dtype=dtype, order=order)
        path = write(tmp_path / "a.npy", pickle.dumps(pair(image), protocol))
        assert_is(read_image(path), RAMP[None])

    @pytest.mark.parametrize("side", [64, 150])
    def test_as_numpy_saves_it(self, tmp_path, side, assert_is):
        image = np.random.default_rng(0).random((1, side, side))
        np.save(tmp_path / "a.npy", pair(image), allow_pickle=True)
        assert_is(read_image(tmp_path / "a.npy"), image.astype(np.float32))

    @pytest.mark.parametrize("protocol", [2, 4])
    @pytest.mark.parametrize(
        "mass", [np.float64(2), np.float32(2), np.array(2.0), np.int64(2), 2, 2.0]
    )
    def test_kinds_of_mass(self, tmp_path, protocol, mass):
        path = write(tmp_path / "a.npy", pickle.dumps(pair(RAMP, mass), protocol))
        found = read_image_and_mass(path)[1]
        assert type(found) is float and found == 2

    def test_python_2(self, tmp_path, assert_is):
        path = write(tmp_path / "a.npy", pair_by_python_2(array(RAMP), MASS))
        image, mass = read_image_and_mass(path)
        assert_is(image, RAMP[None])
        assert mass == MASS

    def test_other_files_have_no_mass(self, tmp_path, assert_is):
        np.save(tmp_path / "a.npy", RAMP)
        image, mass = read_image_and_mass(tmp_path / "a.npy")
        assert_is(image, RAMP[None])
        assert mass is None

    @pytest.mark.parametrize(
        ("image", "mass", "part"),
        [
            (RAMP * np.nan, MASS, "30 NaN or infinite"),
            (RAMP * 0, MASS, "constant image"),
            (RAMP.astype(complex), MASS, "complex128"),
            (RAMP.ravel(), MASS, "1-D array"),
            (RAMP[:0], MASS, "empty array"),
            (np.array([[RAMP], [1]], dtype=object), MASS, "object array"),
            ("image", MASS, "no array"),
            (RAMP, np.nan, "mass is not a finite number"),
            (RAMP, "1e-23", "mass is not a finite number"),
            (RAMP, True, "mass is not a finite number"),
            (RAMP, np.ones(2), "mass is not a finite number"),
        ],
    )
    def test_unusable(self, tmp_path, image, mass, part, refuse):
        path = write(tmp_path / "a.npy", pickle.dumps(pair(image, mass), 4))
        refuse(path, part)

    @pytest.mark.parametrize("shape", [(3,), (2, 1), (1,), (6, 5)])
    def test_shape_in_header(self, tmp_path, shape, refuse):
        payload = pickle.dumps(pair(RAMP), 4)
        refuse(write(tmp_path / "a.npy", payload, shape), f"of shape {shape}")

    def test_shapes_disagree(self, tmp_path, refuse):
        refuse(write(tmp_path / "a.npy", pickle.dumps(pair(RAMP), 4), ()), "shape (2,)")
        refuse(write(tmp_path / "a.npy", pickle.dumps(nested(RAMP), 4)), "shape ()")
        refuse(write(tmp_path / "a.npy", pickle.dumps(RAMP, 4)), "(6, 5)", "float64")
