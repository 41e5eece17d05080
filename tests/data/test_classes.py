import numpy as np
import pytest

from lensequiv.data import ClassFolder, ImageError


@pytest.fixture
def parts(tmp_path):
    for part in ("test", "train", "val"):
        for name in ("no", "vort"):
            (tmp_path / part / name).mkdir(parents=True)
            np.save(tmp_path / part / name / "0.npy", np.arange(4.0).reshape(2, 2))
    return tmp_path


def test_parts_of_a_data_set_are_no_classes(parts):
    with pytest.raises(
        ImageError, match=r"holds the parts test, train, val .*open a part, such as "
    ):
        ClassFolder(parts)
    assert ClassFolder(parts / "train").classes == ("no", "vort")


def test_classes_of_such_names(tmp_path):
    for name in ("train", "test"):  # of railways
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", np.arange(4.0).reshape(2, 2))
    assert ClassFolder(tmp_path).classes == ("test", "train")
