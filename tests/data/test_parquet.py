"""Cut-outs in Parquet, in all the ways that pyarrow, pandas and Ray store arrays."""

import importlib.util
import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lensequiv.data import ImageError
from lensequiv.data.parquet import count_cutouts, read_cutouts

STACK = np.random.default_rng(0).poisson(9, (7, 6, 5)).astype(np.float32)


def npy(image):
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()


def write(path, images, names=None):
    names = list(range(len(images))) if names is None else names
    pq.write_table(pa.table({"id": names, "image": images}), path, row_group_size=3)
    return path


def fixed(*shape):
    kind = pa.float32()
    for size in shape[::-1]:
        kind = pa.list_(kind, size)
    return kind


@pytest.mark.parametrize(
    "images",
    [
        pa.FixedShapeTensorArray.from_numpy_ndarray(STACK),
        pa.array(STACK.tolist()),
        pa.array(STACK.tolist(), fixed(6, 5)),
        pa.array(STACK.tolist(), pa.large_list(fixed(5))),
        pa.array(STACK.astype(int).tolist(), pa.list_(pa.list_(pa.int16()))),
        pa.array([npy(image) for image in STACK]),
        pa.array([npy(image.astype(">f8")) for image in STACK], pa.large_binary()),
    ],
    ids=lambda images: str(images.type)[:40],
)
def test_rows_of_any_groups(tmp_path, images, assert_is):
    path = write(tmp_path / "a.parquet", images)
    assert count_cutouts(path, "image", "id") == 7
    for start, stop in ((0, 7), (2, 4), (3, 6), (5, 7)):
        rows = read_cutouts(path, start, stop, "image", "id")
        assert rows.names == [str(i) for i in range(start, stop)]
        assert len(rows) == stop - start
        for i in range(len(rows)):
            assert_is(rows.read(i), STACK[start + i][None])


def test_channels(tmp_path, assert_is):
    colour = STACK.reshape(7, 1, 6, 5).repeat(3, 1)
    path = write(tmp_path / "a.parquet", pa.array(colour.tolist()))
    assert_is(read_cutouts(path, 0, 7, "image", "id").read(4), colour[4])
    last = pa.FixedShapeTensorArray.from_numpy_ndarray(np.moveaxis(colour, 1, 3).copy())
    path = write(tmp_path / "b.parquet", last)
    assert_is(read_cutouts(path, 0, 7, "image", "id").read(4), colour[4])


@pytest.mark.slow
def test_written_by_ray(tmp_path):
    """Ray registers its own types, so in a process of its own."""
    if importlib.util.find_spec("ray") is None:  # imported here, it would not be alone
        pytest.skip("Ray is not installed")
    code = f"""
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from ray.data.extensions import ArrowTensorArray
from lensequiv.data.parquet import read_cutouts
stack = np.arange(60, dtype=np.float32).reshape(2, 5, 6)
table = pa.table({{"image": ArrowTensorArray.from_numpy(stack), "id": [3, 4]}})
pq.write_table(table, {str(tmp_path / "a.parquet")!r})
rows = read_cutouts({str(tmp_path / "a.parquet")!r}, 0, 2, "image", "id")
assert "ArrowTensorType" in str(rows.images.type)
assert np.array_equal(rows.read(1)[0], stack[1])
"""
    subprocess.run([sys.executable, "-c", code], check=True)


pair = np.empty(2, dtype=object)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (None, r"holds no image \(null\)"),
        (b"", "is an empty file"),
        (npy(STACK[0])[:-1], "fewer than its header claims"),
        (npy(pair), "object array"),
        (npy(np.zeros((6, 5))), "constant image"),
        (npy(np.zeros(5)), "1-D array"),
    ],
)
def test_bad_bytes(tmp_path, image, found, assert_is):
    path = write(tmp_path / "a.parquet", [image, npy(STACK[0])], ["bad", "good"])
    rows = read_cutouts(path, 0, 2, "image", "id")
    with pytest.raises(ImageError, match=rf"a\.parquet\[bad\] .*{found}"):
        rows.read(0)
    assert_is(rows.read(1), STACK[0][None])


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (None, r"holds no image \(null\)"),
        ([[1.0, 2.0], [3.0]], "several lengths"),
        ([[1.0, 2.0], None], "several lengths"),
        ([[1.0, 2.0], [3.0, None]], "1 NaN or infinite pixel "),
        ([], "no rows"),
        ([[], []], "an empty array"),
    ],
)
def test_bad_lists(tmp_path, image, found):
    path = write(tmp_path / "a.parquet", pa.array([STACK[0].tolist(), image]))
    with pytest.raises(ImageError, match=rf"a\.parquet\[1\] .*{found}"):
        read_cutouts(path, 1, 2, "image", "id").read(0)


def test_columns_that_are_not_there_or_not_fit(tmp_path):
    path = write(tmp_path / "a.parquet", pa.array(STACK.tolist()))
    with pytest.raises(ImageError, match=r"no column 'pixels' \(columns: id, image\)"):
        count_cutouts(path, "pixels", "id")
    with pytest.raises(ImageError, match="'id' of type int64; expected a column of im"):
        count_cutouts(path, "id", "id")
    with pytest.raises(ImageError, match=r"'image' of type list.*numbers or text"):
        count_cutouts(path, "image", "image")
    turned = pa.fixed_shape_tensor(pa.float32(), [5, 6], permutation=[1, 0])
    storage = pa.array(STACK.reshape(7, -1).tolist(), turned.storage_type)
    path = write(
        tmp_path / "b.parquet", pa.ExtensionArray.from_storage(turned, storage)
    )
    with pytest.raises(ImageError, match="expected a column of images"):
        count_cutouts(path, "image", "id")


def test_damaged_files(tmp_path):
    path = write(tmp_path / "a.parquet", pa.array(STACK.tolist()))
    content = bytearray(path.read_bytes())
    content[8:80] = bytes(72)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.parquet is damaged"):
        read_cutouts(path, 0, 7, "image", "id")
    path.write_bytes(b"PAR1")
    with pytest.raises(ImageError, match=r"a\.parquet cannot be read as Parquet"):
        count_cutouts(path, "image", "id")
    with pytest.raises(FileNotFoundError):
        count_cutouts(tmp_path / "none.parquet", "image", "id")
