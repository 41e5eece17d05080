import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lensequiv.data import ClassFolder, ImageError, open_dataset
from lensequiv.transforms import CropAndScale


def ramp(shape=(6, 5)):
    return np.arange(np.prod(shape), dtype=np.float64).reshape(shape)


@pytest.fixture
def make(tmp_path):
    """Build root/<class>/<file>.npy; each image is the ramp plus its own constant."""

    def build(files, shape=(6, 5)):
        for name, level in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, ramp(shape) + level)
        return tmp_path

    return build


STANDARD = {
    "vort/1.npy": 100,
    "no/10.npy": 12,
    "no/2.npy": 11,
    "no/deep/1.npy": 13,
    "sphere/1.npy": 50,
    "sphere/2.npy": 51,
}


def test_standard_classes(make):
    root = make(STANDARD)
    (root / ".hidden").mkdir()
    (root / "README.md").touch()
    data = ClassFolder(root)
    assert data.classes == ("no", "sphere", "vort")
    assert len(data) == 6
    names = ["no/2", "no/10", "no/deep/1", "sphere/1", "sphere/2", "vort/1"]
    assert data.paths == [root / f"{name}.npy" for name in names]
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["cdm", "axion", "no_sub"], ("axion", "cdm", "no_sub")),
        (["no", "vort"], ("no", "vort")),
        (["axion", "vort", "no", "sphere"], ("no", "sphere", "vort", "axion")),
    ],
)
def test_default_order(make, folders, classes):
    data = ClassFolder(make({f"{name}/1.npy": 1 for name in folders}))
    assert data.classes == classes


def test_given_order(make):
    data = ClassFolder(make(STANDARD), classes=["vort", "no", "sphere"])
    assert data.classes == ("vort", "no", "sphere")
    assert data.labels.tolist() == [0, 1, 1, 1, 2, 2]
    image, label = data[0]
    assert label == 0
    np.testing.assert_array_equal(image[0].numpy(), ramp() + 100)


def test_items(make):
    data = ClassFolder(make(STANDARD))
    image, label = data[3]
    assert type(label) is int and label == 1
    assert image.dtype == torch.float32 and image.shape == (1, 6, 5)
    np.testing.assert_array_equal(image[0].numpy(), ramp() + 50)
    with pytest.raises(IndexError):
        data[6]


def test_take_keeps_the_order_of_the_paths(make):
    data = ClassFolder(make(STANDARD))
    part = data.take(torch.tensor([5, 1, 3]))
    assert part.paths == [data.paths[i] for i in (1, 3, 5)]
    assert part.labels.tolist() == [0, 1, 2] and part.classes == data.classes
    assert len(data) == 6
    with pytest.raises(IndexError):
        part.take(torch.tensor([3]))


@pytest.mark.parametrize(
    ("which", "kept"),
    [
        (3, [0, 3, 5]),
        (5, [0, 1, 3, 4, 5]),
        (np.int64(6), [0, 1, 2, 3, 4, 5]),
        ([4, 0], [0, 4]),
        (np.array([5, 2], np.uint8), [2, 5]),
        (torch.tensor([False, True, False, False, False, True]), [1, 5]),
        ([True] + [False] * 5, [0]),
        (np.arange(6) > 3, [4, 5]),
        (range(1, 3), [1, 2]),
        (slice(2, None, 2), [2, 4]),
    ],
    ids=str,
)
def test_take(make, which, kept):
    data = ClassFolder(make(STANDARD))
    part = data.take(which)
    assert part.paths == [data.paths[i] for i in kept]
    assert part.labels.tolist() == [data.labels[i] for i in kept]


@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        (0, ValueError, r"take\(0\): expected a number from 1 to 6"),
        (7, ValueError, r"take\(7\): expected a number from 1 to 6"),
        (True, TypeError, "given a bool of shape"),
        (2.0, TypeError, "given a float of shape"),
        ("no", TypeError, "given a str of shape"),
        ([0.0, 1.0], TypeError, "given a list of shape .* and type float64"),
        (np.zeros((2, 2), int), TypeError, r"shape \(2, 2\)"),
        ([], ValueError, "no position"),
        ([False] * 6, ValueError, "no position"),
        ([True] * 5, ValueError, "given 5 booleans; expected one for each of the 6"),
        ([-1, 2], IndexError, "the position -1; expected numbers from 0 to 5"),
        ([2, 6], IndexError, "the position 6; expected numbers from 0 to 5"),
    ],
)
def test_take_refuses(make, which, error, message):
    with pytest.raises(error, match=message):
        ClassFolder(make(STANDARD)).take(which)


def test_repr(make):
    root = make(STANDARD)
    expected = f"ClassFolder({str(root)!r}: 6 images of 3 classes: no 3, sphere 2, vort"
    assert repr(ClassFolder(root)) == f"{expected} 1)"
    np.save(root / "no" / "2.npy", np.full((6, 5), np.nan))
    with pytest.warns(UserWarning, match="1 of 6 images"):
        data = ClassFolder(root, on_error="skip")
    assert repr(data).endswith(": no 2, sphere 2, vort 1; 1 left out)")
    assert "1 image of 3 classes: no 0, sphere 0, vort 1;" in repr(data.take([4]))


def test_repr_of_many_classes(make):
    data = ClassFolder(make({f"{i:02}/1.npy": i for i in range(12)}))
    assert repr(data).endswith("08 1, 09 1, and 2 more)")


def test_home_folder(make, monkeypatch):
    root = make(STANDARD)
    monkeypatch.setenv("HOME", str(root.parent))
    assert ClassFolder(f"~/{root.name}").root == root
    assert open_dataset(f"~/{root.name}").root == root


def test_the_plane_that_is_asked_for(tmp_path):
    for name, level in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        arrays = {"first": ramp(), "second": ramp() * 10 * level}
        np.savez(tmp_path / name / "0.npz", **arrays)
    for data in (
        ClassFolder(tmp_path, plane="second"),
        open_dataset(tmp_path, plane="second"),
        ClassFolder(tmp_path, plane="second").take([0, 1]),
    ):
        np.testing.assert_array_equal(data[1][0][0], ramp() * 20)
        np.testing.assert_array_equal(data.load_arrays(False)[1, 0], ramp() * 20)
        data.check(progress=False)
    with pytest.raises(ImageError, match="third"):
        ClassFolder(tmp_path, plane="third").check(progress=False)


def test_transform(make):
    data = ClassFolder(make(STANDARD), transform=lambda image: -image)
    np.testing.assert_array_equal(data[0][0][0].numpy(), -(ramp() + 11))


def test_transform_that_refuses(make):
    data = ClassFolder(make(STANDARD), transform=CropAndScale(9))
    with pytest.raises(
        ImageError, match=r"no/2\.npy: image has 6 x 5 pixels; expected"
    ):
        data[0]


def test_data_loader(make):
    images, labels = next(iter(DataLoader(ClassFolder(make(STANDARD)), batch_size=6)))
    assert images.shape == (6, 1, 6, 5)
    assert labels.tolist() == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("progress", [True, False])
def test_load_arrays(make, capsys, progress):
    data = ClassFolder(make(STANDARD), transform=lambda image: -image)
    images = data.load_arrays(progress=progress)
    assert images.dtype == torch.float32 and images.shape == (6, 1, 6, 5)
    for image, level in zip(images, [11, 12, 13, 50, 51, 100], strict=True):
        np.testing.assert_array_equal(image[0].numpy(), ramp() + level)
    assert ("reading" in capsys.readouterr().err) == progress


def test_load_arrays_refuses_mixed_sizes(make):
    make({"no/1.npy": 0})
    root = make({"sphere/1.npy": 0}, shape=(6, 7))
    with pytest.raises(ImageError) as caught:
        ClassFolder(root).load_arrays(progress=False)
    message = str(caught.value)
    assert message.startswith(f"{root / 'sphere' / '1.npy'} holds")
    assert "(1, 6, 7)" in message
    assert f"(1, 6, 5) as in {root / 'no' / '1.npy'}" in message


def test_unusable_image_is_named(make):
    root = make(STANDARD)
    np.save(root / "no" / "2.npy", np.full((6, 5), np.nan))
    with pytest.raises(ImageError, match=r"2\.npy holds 30 NaN or infinite pixels"):
        ClassFolder(root)[0]
    with pytest.raises(ImageError, match=r"2\.npy holds 30 NaN or infinite pixels"):
        ClassFolder(root).load_arrays(progress=False)


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        ClassFolder(tmp_path / "absent")


def test_root_without_folders(make):
    root = make({"1.npy": 0})
    with pytest.raises(ImageError) as caught:
        ClassFolder(root)
    assert str(caught.value).startswith(f"{root} holds no folder; expected")


def test_missing_class(make):
    with pytest.raises(ImageError, match="lacks the class folders axion; expected"):
        ClassFolder(make(STANDARD), classes=["no", "sphere", "vort", "axion"])


def test_unexpected_class(make):
    with pytest.raises(ImageError, match="also holds the class folders sphere, vort"):
        ClassFolder(make(STANDARD), classes=["no"])


def test_empty_class(make):
    root = make(STANDARD)
    (root / "vort" / "1.npy").unlink()
    with pytest.raises(ImageError) as caught:
        ClassFolder(root)
    assert str(caught.value).startswith(f"{root / 'vort'} holds no image; expected")


@pytest.mark.parametrize(
    ("classes", "message"),
    [("no", "'no'"), ([], "list of class names"), (["no", "no"], "twice")],
)
def test_unusable_classes(make, classes, message):
    with pytest.raises(ValueError, match=message):
        ClassFolder(make(STANDARD), classes=classes)


class TestSkip:
    @pytest.fixture
    def damaged(self, make):
        root = make(STANDARD)
        np.save(root / "no" / "2.npy", np.full((6, 5), np.nan))
        (root / "sphere" / "1.npy").write_bytes(b"")
        return root

    def test_leaves_out_and_tells(self, damaged):
        with pytest.warns(UserWarning, match=r"2 of 6 images in .* left out") as caught:
            data = ClassFolder(damaged, on_error="skip")
        assert len(caught) == 1 and caught[0].filename == __file__
        assert "2.npy holds 30 NaN" in str(caught[0].message)
        first, second = data.skipped
        assert first[0] == damaged / "no" / "2.npy" and "30 NaN" in first[1]
        assert second[0] == damaged / "sphere" / "1.npy" and "empty" in second[1]
        names = ["no/10", "no/deep/1", "sphere/2", "vort/1"]
        assert data.paths == [damaged / f"{name}.npy" for name in names]
        assert data.labels.tolist() == [0, 0, 1, 2]
        images, labels = next(iter(DataLoader(data, batch_size=9)))
        assert images.shape == (4, 1, 6, 5) and labels.tolist() == [0, 0, 1, 2]
        assert torch.equal(data.load_arrays(progress=False), images)

    def test_raises_by_default(self, damaged):
        data = ClassFolder(damaged)
        for _ in range(2):
            with pytest.raises(ImageError, match=r"2\.npy holds 30 NaN"):
                data.check(progress=False)
        assert len(data) == 6 and data.skipped == []

    @pytest.mark.filterwarnings("error")
    def test_nothing_to_skip(self, make):
        data = ClassFolder(make(STANDARD), on_error="skip")
        assert len(data) == 6 and data.skipped == []

    def test_damage_that_comes_later(self, make):
        data = ClassFolder(make(STANDARD), on_error="skip")
        data.paths[0].unlink()
        with pytest.raises(FileNotFoundError):
            data[0]
        with pytest.warns(UserWarning, match="1 of 6") as caught:
            data.check(progress=False)
        assert caught[0].filename == __file__
        assert len(data) == 5 and "No such file" in data.skipped[0][1]

    def test_many(self, make):
        root = make({f"{c}/{i}.npy": i for c in ("a", "b") for i in range(150)})
        broken = [root / "b" / f"{i}.npy" for i in (3, 70, 71, 149)]
        for path in broken:
            path.write_bytes(path.read_bytes()[:-1])
        with pytest.warns(UserWarning, match=r"4 of 300(.|\n)*and 1 more"):
            data = ClassFolder(root, on_error="skip")
        assert [path for path, _ in data.skipped] == broken
        assert len(data) == 296 and data.labels.sum() == 146
        with pytest.raises(ImageError, match=r"b/3\.npy holds 239 bytes"):
            ClassFolder(root).load_arrays(progress=False)

    def test_nothing_left(self, damaged):
        (damaged / "vort" / "1.npy").write_text("0 1 2")
        with pytest.raises(ImageError) as caught:
            ClassFolder(damaged, on_error="skip")
        message = str(caught.value)
        assert message.startswith(f"{damaged / 'vort'} holds damaged images alone")
        assert "begins with b'0 1 2'" in message

    def test_unknown_way(self, make):
        with pytest.raises(ValueError, match="on_error is 'ignore'"):
            ClassFolder(make(STANDARD), on_error="ignore")


class TestSplit:
    @pytest.fixture
    def data(self, make):
        counts = {"a": 40, "b": 20, "c": 10}
        files = {f"{c}/{i}.npy": i for c, n in counts.items() for i in range(n)}
        return ClassFolder(make(files), transform=torch.square)

    def test_covers_in_proportion(self, data):
        parts = data.split([0.7, 0.2, 0.1], seed=1)
        assert sorted(p for part in parts for p in part.paths) == sorted(data.paths)
        counts = [part.labels.bincount().tolist() for part in parts]
        assert counts == [[28, 14, 7], [8, 4, 2], [4, 2, 1]]
        for part in parts:
            assert type(part) is ClassFolder and part.classes == data.classes
            assert part.transform is torch.square
            names = [data.classes[label] for label in part.labels]
            assert names == [path.parent.name for path in part.paths]
            positions = [data.paths.index(path) for path in part.paths]
            assert positions == sorted(positions)
        assert len(data) == 70

    def test_seed(self, data):
        first, again, other = (data.split([0.5, 0.5], seed)[0] for seed in (1, 1, 2))
        assert first.paths == again.paths != other.paths

    def test_parts_of_parts(self, data):
        part = data.split([0.5, 0.5], 0)[0]
        parts = part.split([0.6, 0.4], 0)
        assert sum(map(len, parts)) == len(part) == 35

    @pytest.mark.parametrize("fractions", [[], [0.5], [0.5, 0.6], [1.5, -0.5], [1, 0]])
    def test_fractions(self, data, fractions):
        with pytest.raises(ValueError, match="positive numbers that add up to 1"):
            data.split(fractions, 0)

    def test_too_small(self, data):
        with pytest.raises(ValueError, match="without any of the 10 images of class"):
            data.split([0.97, 0.03], 0)


def test_load_arrays_refuses_overflow(make):
    root = make({"a/1.npy": 0, "a/2.npy": 1e5})
    data = ClassFolder(root)
    assert data.load_arrays(progress=False)[1].min() == 1e5
    with pytest.raises(ImageError, match=r"2\.npy holds pixels up to 100029"):
        data.load_arrays(progress=False, dtype=torch.float16)


def test_one_position_at_a_time(make):
    data = ClassFolder(make(STANDARD))
    assert data[torch.tensor(-1)][1] == data.labels[-1]
    with pytest.raises(TypeError, match=r"slice\(0, 2, None\): .*take\(\) makes"):
        data[0:2]


def test_what_is_left_out_is_told_once_for_the_set(make):
    root = make(STANDARD)
    for name in ("no/1.asdf", "vort/2.asdf", "vort/b.dcm", "no/README.md"):
        (root / name).touch()
    with pytest.warns(UserWarning) as caught:
        ClassFolder(root)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert f"files in {root} were left out: 2 .asdf, 1 .dcm;" in str(caught[0].message)
