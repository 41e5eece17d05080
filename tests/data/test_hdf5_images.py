import pickle
import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lensequiv.data import ClassFolder, HDF5Images, ImageError, open_dataset

h5py = pytest.importorskip("h5py")

N = 60
LABELS = np.repeat([0, 1, 2], 20)
IMAGES = np.random.default_rng(0).poisson(50, (N, 9, 7)).astype(np.float32)
CLASSES = ("no", "sphère", "vort")


@pytest.fixture
def write(tmp_path):
    """Write a set as `lensequiv simulate` does, or with parts left out or changed."""

    def build(name="a.h5", options=None, **changes):
        parts = {"images": IMAGES, "labels": LABELS, "classes": CLASSES} | changes
        classes = parts.pop("classes")
        with h5py.File(tmp_path / name, "w") as file:
            if classes is not None:
                kind = h5py.string_dtype() if type(classes) is tuple else None
                file.attrs.create("classes", classes, dtype=kind)
            file.attrs["manifest"] = "{}"
            file.create_group("parameters")["z_lens"] = np.zeros(N)
            for key, values in parts.items():
                if values is not None:
                    wanted = (options or {}) if key == "images" else {}
                    file.create_dataset(key, data=values, **wanted)
        return tmp_path / name

    return build


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (7, 9, 7)}, {"chunks": (1, 9, 7), "compression": "gzip"}]
)
def test_items_and_arrays(write, options, capsys):
    data = HDF5Images(str(write(options=options)))
    assert len(data) == N and data.classes == CLASSES
    assert data.labels.dtype == torch.int64 and data.labels.tolist() == LABELS.tolist()
    image, label = data[25]
    assert type(label) is int and label == 1
    assert image.dtype == torch.float32 and image.shape == (1, 9, 7)
    np.testing.assert_array_equal(image[0], IMAGES[25])
    np.testing.assert_array_equal(data[-1][0][0], IMAGES[-1])
    with pytest.raises(IndexError):
        data[N]
    loaded = data.load_arrays()
    assert "reading" in capsys.readouterr().err
    assert loaded.dtype == torch.float32 and loaded.shape == (N, 1, 9, 7)
    np.testing.assert_array_equal(loaded[:, 0], IMAGES)
    half = data.load_arrays(progress=False, dtype=torch.float16)
    assert half.dtype == torch.float16 and torch.equal(half.float(), loaded)


def test_channels_and_transform(write):
    stored = np.stack([IMAGES, 2 * IMAGES], 1).astype(">f8")
    data = HDF5Images(write(images=stored), transform=torch.neg)
    np.testing.assert_array_equal(data[3][0], -stored[3])
    np.testing.assert_array_equal(data.load_arrays(progress=False), stored)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(write, method):
    data = HDF5Images(write(), transform=torch.neg)
    data[0]  # the file is open here when the workers start
    loader = DataLoader(
        data, batch_size=8, num_workers=2, multiprocessing_context=method
    )
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    np.testing.assert_array_equal(images[:, 0], -IMAGES)
    assert labels.tolist() == LABELS.tolist()
    np.testing.assert_array_equal(data[1][0][0], -IMAGES[1])


def test_pickles_while_open(write):
    data = HDF5Images(write())
    data[0]
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again[5][0][0], IMAGES[5])


def test_split(write):
    data = HDF5Images(write())
    parts = data.split([0.5, 0.25, 0.25], seed=3)
    assert [part.labels.bincount().tolist() for part in parts] == [
        [10] * 3,
        [5] * 3,
        [5] * 3,
    ]
    assert torch.cat([part.rows for part in parts]).sort().values.tolist() == [
        *range(N)
    ]
    for part in parts:
        assert type(part) is HDF5Images
        expected = IMAGES[part.rows]
        np.testing.assert_array_equal(part.load_arrays(progress=False)[:, 0], expected)
        np.testing.assert_array_equal(part[4][0][0], expected[4])
        assert part[4][1] == LABELS[part.rows[4]]
    assert torch.equal(data.split([0.5, 0.25, 0.25], seed=3)[1].rows, parts[1].rows)


def test_take_keeps_the_order_of_the_file(write):
    part = HDF5Images(write()).take(torch.tensor([7, 2, 41]))
    assert part.rows.tolist() == [2, 7, 41]
    assert part.labels.tolist() == [LABELS[i] for i in (2, 7, 41)]
    again = part.take(torch.tensor([2, 1]))
    found = again.load_arrays(progress=False)[:, 0]
    np.testing.assert_array_equal(found, IMAGES[[7, 41]])
    with pytest.raises(IndexError):
        part.take(torch.tensor([3]))


def test_take_some_of_each_class(write):
    data = HDF5Images(write())
    part = data.take(4)
    assert part.labels.bincount().max() - part.labels.bincount().min() <= 1
    firsts = [LABELS.tolist().index(c) for c in sorted(set(LABELS.tolist()))]
    assert set(firsts) <= set(part.rows.tolist())
    mask = np.arange(N) % 5 == 0
    assert data.take(mask).rows.tolist() == np.flatnonzero(mask).tolist()
    with pytest.raises(IndexError, match="the position -1"):
        data.take([-1])


def test_repr(write):
    path = write()
    text = repr(HDF5Images(path).take([0, 1]))
    assert text.startswith(f"HDF5Images({str(path)!r}: 2 images of {len(CLASSES)} cl")


@pytest.mark.parametrize("keyword", ["plane", "hdu"])
def test_planes_are_refused(write, keyword):
    path = write()
    with pytest.raises(ValueError, match=rf"{keyword} is 1, but .* is one HDF5"):
        open_dataset(path, **{keyword: 1})


def test_small_blocks(write, monkeypatch):
    monkeypatch.setattr("lensequiv.data.hdf5_images._BLOCK", 1000)  # 3 images
    part = HDF5Images(write()).split([0.3, 0.7], seed=0)[0]
    found = part.load_arrays(progress=False)[:, 0]
    np.testing.assert_array_equal(found, IMAGES[part.rows])


@pytest.mark.parametrize("read", [lambda d: d[41], lambda d: d.load_arrays(False)])
def test_unusable_image(write, read):
    images = IMAGES.copy()
    images[41, 0, :3] = np.nan
    path = write(images=images)
    with pytest.raises(ImageError) as caught:
        read(HDF5Images(path))
    assert str(caught.value).startswith(f"{path} images[41] holds 3 NaN or infinite")


def test_overflow(write):
    data = HDF5Images(write(images=IMAGES * 1000))
    with pytest.raises(ImageError, match=r"images\[0\] holds pixels up to"):
        data.load_arrays(progress=False, dtype=torch.float16)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"images": None}, "has no data set images (data sets: labels, parameters"),
        ({"labels": None}, "has no data set labels"),
        ({"images": IMAGES[0]}, "has images of shape (9, 7)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "has images of shape (0, 9, 7)"),
        ({"images": IMAGES[:, None].repeat(17, 1)}, "shape (60, 17, 9, 7)"),
        ({"images": IMAGES[None, None]}, "has images of shape (1, 1, 60, 9, 7)"),
        ({"images": IMAGES.astype("c8")}, "values of type complex64"),
        ({"labels": LABELS[:-1]}, "has labels of shape (59,)"),
        ({"labels": LABELS[:, None]}, "has labels of shape (60, 1)"),
        ({"labels": LABELS.astype("f8")}, "type float64 beside"),
        ({"labels": LABELS + 1}, "has the label 3 at image 40, but 3 classes"),
        ({"labels": LABELS - 1}, "has the label -1 at image 0, but 3 classes"),
        ({"classes": None}, "no list of names in the attribute classes"),
        ({"classes": "no"}, "no list of names in the attribute classes"),
        ({"classes": np.arange(3)}, "which are not all names"),
        ({"classes": ("no", "no", "vort")}, "names a class twice"),
        ({"parameters/gamma": np.zeros(N - 1)}, "parameter gamma of shape (59,)"),
    ],
)
def test_layout(write, changes, found):
    path = write(**changes)
    with pytest.raises(ImageError) as caught:
        HDF5Images(path)
    assert str(caught.value).startswith(str(path)) and found in str(caught.value)


def test_file(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        HDF5Images(tmp_path / "absent.h5")
    path = write()
    data = HDF5Images(path)
    content = path.read_bytes()
    path.write_bytes(content[:-500])
    for read in (lambda: HDF5Images(path), lambda: data[0]):
        with pytest.raises(ImageError, match=re.escape(str(path))):
            read()


class TestOpenDataset:
    def test_folder(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            np.save(tmp_path / name / "1.npy", IMAGES[0])
        (tmp_path / "b" / "2.npy").touch()
        with pytest.warns(UserWarning, match="1 of 3"):
            data = open_dataset(tmp_path, ["b", "a"], torch.neg, "skip")
        assert type(data) is ClassFolder and data.classes == ("b", "a")
        np.testing.assert_array_equal(data[1][0][0], -IMAGES[0])

    def test_hdf5(self, write):
        path = write("A.HDF5")
        data = open_dataset(path, CLASSES, torch.neg)
        assert type(data) is HDF5Images and len(data) == N
        np.testing.assert_array_equal(data[1][0][0], -IMAGES[1])
        with pytest.raises(ImageError, match=r"A\.HDF5 has the classes \['no'"):
            open_dataset(path, CLASSES[::-1])
        with pytest.raises(ValueError, match="on_error is 'skip', but"):
            open_dataset(path, on_error="skip")

    def test_neither(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="absent"):
            open_dataset(tmp_path / "absent")
        (tmp_path / "a.npy").touch()
        with pytest.raises(ImageError, match="neither a folder nor an HDF5 file"):
            open_dataset(tmp_path / "a.npy")


@pytest.mark.parametrize("attribute", ["_FillValue", "missing_value"])
def test_fill_values_are_no_pixels(write, attribute):
    images = IMAGES.copy()
    images[7, 2:4, 3] = -999
    path = write(images=images)
    with h5py.File(path, "a") as file:
        file["images"].attrs[attribute] = np.float32(-999)
    data = HDF5Images(path)
    np.testing.assert_array_equal(data[6][0][0], IMAGES[6])
    with pytest.raises(ImageError, match=r"images\[7\] holds 2 NaN or infinite pixels"):
        data[7]
    with pytest.raises(ImageError, match=r"images\[7\] holds 2 NaN or infinite pixels"):
        data.load_arrays(progress=False)


def test_one_position_at_a_time(write):
    data = HDF5Images(write())
    assert data[np.int64(25)][1] == data[torch.tensor(25)][1] == 1
    with pytest.raises(TypeError, match=r"slice\(0, 2, None\): .*take\(\) makes"):
        data[0:2]
