import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lensequiv.data import ClassFolder, ImageError


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


def test_transform(make):
    data = ClassFolder(make(STANDARD), transform=lambda image: -image)
    np.testing.assert_array_equal(data[0][0][0].numpy(), -(ramp() + 11))


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
