"""Any array, in any layout: a documented error or a finite result that is the same.

`LENSEQUIV_FUZZ=1` tries a hundred times as many examples, at random.
"""

import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lensequiv.data import ImageError, as_images, read_image
from lensequiv.transforms import (
    CropAndScale,
    RandomPose,
    Singh2021Eval,
    Singh2021Train,
    preprocessing_from_config,
    rotate,
)

pytestmark = pytest.mark.slow

MANY = "LENSEQUIV_FUZZ" in os.environ
SETTINGS = {
    "max_examples": 10_000 if MANY else 60,
    "derandomize": not MANY,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}
few = settings(**{**SETTINGS, "max_examples": SETTINGS["max_examples"] // 3})
many = settings(**SETTINGS)

KINDS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4"]
ODD = [0.0, -0.0, 1e-310, 1e-45, 1e-38, 6e4, 1e38, 3.4e38, 1e300, -1e38, 1.0]
ODD += [np.nan, np.inf, -np.inf, 2.0**53 + 2]


def shapes(low=2, high=4, side=12):
    return hnp.array_shapes(min_dims=low, max_dims=high, min_side=1, max_side=side)


@st.composite
def arrays(draw, shape, kinds=(*KINDS, "?", "c8", "U3", "O", "f16", "u8"), odd=ODD):
    """Noise with a few odd values in it, of any type that has room for them."""
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 2**32 - 1))
    shape = draw(shape)
    values = np.random.default_rng(seed).normal(100, 50, shape)
    for value in draw(st.lists(st.sampled_from(odd), max_size=3)):
        values.flat[draw(st.integers(0, values.size - 1))] = value
    if draw(st.integers(0, 9)) == 0:
        values[:] = values.flat[0]
    with np.errstate(all="ignore"):
        if kind[0] in "iu":
            info = np.iinfo(kind)
            values = np.clip(np.nan_to_num(values), info.min / 2, info.max / 2)
        return values.astype(kind)


def layouts(array):
    """The same values in other memory, byte orders and strides."""
    wide = np.zeros([2 * side for side in array.shape], array.dtype)
    part = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    part[:] = array
    flipped = np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    shape = array.shape[::-1]
    return {
        "Fortran order": np.asfortranarray(array),
        "strided": part,
        "flipped": flipped,
        "transposed": np.ascontiguousarray(array.T).T.reshape(shape[::-1]),
        "swapped": array.astype(array.dtype.newbyteorder("S")),
        "read-only": np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    }


def result(work, *args):
    """What comes out, or the message of the documented error."""
    try:
        return work(*args)
    except ValueError as error:
        return str(error)


def same(one, other):
    if isinstance(one, str) or isinstance(other, str):
        return one == other or (isinstance(one, str) and isinstance(other, str))
    return np.array_equal(np.asarray(one), np.asarray(other))


@many
@given(arrays(shapes(1, 5)))
def test_as_images(array):
    found = result(as_images, array)
    if not isinstance(found, str):
        assert found.dtype == torch.float32 and found.ndim == 4
        assert found.isfinite().all() and found.numel() == array.size
        expected = array.astype(np.float32).ravel()
        assert np.array_equal(found.numpy().ravel(), expected)
    if array.dtype.kind not in "OU":
        for name, other in layouts(array).items():
            assert same(result(as_images, other), found), name


@few
@given(
    array=arrays(shapes(1, 5), [*KINDS, "?", "c8", "U3"]),
    version=st.sampled_from([(1, 0), (2, 0)]),
)
def test_npy_files(array, version, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    found = None
    for other in [array, *layouts(array).values()]:
        with path.open("wb") as stream:
            np.lib.format.write_array(stream, other, version)
        read = result(read_image, path)
        if not isinstance(read, str):
            assert read.dtype == np.float32 and read.ndim == 3
            assert np.isfinite(read).all() and read.flags.carray
        assert found is None or same(read, found)
        found = read


@few
@given(content=st.binary(max_size=300), magic=st.booleans(), cut=st.integers(0, 200))
def test_npy_files_of_any_bytes(content, magic, cut, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "bytes.npy"
    np.save(path, np.arange(30.0).reshape(5, 6))
    path.write_bytes((path.read_bytes()[:cut] if magic else b"") + content)
    try:
        read = read_image(path)
    except ImageError as error:
        assert str(error).startswith(str(path)) and str(error).isprintable()
    else:
        assert np.isfinite(read).all()


IMAGES = st.tuples(
    st.integers(1, 2), st.integers(1, 2), st.integers(7, 14), st.integers(7, 14)
)
TRANSFORMS = {
    "crop and scale": CropAndScale(9, (7, 8), 0.25, 0.95),
    "singh2021-eval": Singh2021Eval(8, 9),
    "singh2021-train": Singh2021Train(8, 9),
    "random pose": RandomPose(9, shift=2),
    "rotate": lambda images: rotate(images, 30.0, 9),
}


@few
@given(array=arrays(IMAGES, KINDS))
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name, array):
    def work(images):
        torch.manual_seed(0)
        return TRANSFORMS[name](images)

    tensor = torch.from_numpy(array)
    if name in ("random pose", "rotate"):  # readers have refused the rest
        assume(bool(tensor.float().isfinite().all()))
    found = result(work, tensor)
    other = tensor.transpose(2, 3).contiguous().transpose(2, 3)
    assert same(result(work, other), found)
    if isinstance(found, str):
        return
    assert found.dtype == torch.float32 and found.shape[:2] == tensor.shape[:2]
    assert found.shape[-1] in (7, 8, 9)
    assert found.isfinite().all()
    wider = result(work, tensor.double())
    if tensor.dtype not in (torch.float64, torch.int64):
        assert same(wider, found)


@few
@given(
    array=arrays(IMAGES, ("f8",), odd=[0.0, 1e3, -50.0]),
    gain=st.floats(1e-6, 1e6),
    offset=st.floats(-1e4, 1e4),
)
def test_gain_and_offset_do_not_matter(array, gain, offset):
    scale = TRANSFORMS["crop and scale"]
    plain = result(scale, torch.from_numpy(array))
    assume(not isinstance(plain, str) and plain.abs().max() < 1e3)
    moved = scale(torch.from_numpy(gain * (array + offset)))
    torch.testing.assert_close(moved, plain, rtol=1e-4, atol=1e-4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
GOOD = CropAndScale(129, (97,)).to_config()


@pytest.mark.slow
@many
@given(
    key=st.sampled_from([*GOOD, "padded", "extra"]),
    value=JSON,
    name=st.sampled_from(["crop-and-scale", "singh2021-eval"]),
)
def test_preprocessing_configs(key, value, name):
    config = dict(GOOD)
    if name == "singh2021-eval":
        config = Singh2021Eval().to_config()
    config[key] = value
    try:
        made = preprocessing_from_config(config)
    except ValueError as error:
        assert str(error)
    else:
        assert made.to_config() == config
