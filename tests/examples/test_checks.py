"""What the training examples check before their first step."""

import checks
import numpy as np
import pytest
import sets
import torch

import lensequiv
from lensequiv.data import ImageError


@pytest.fixture
def model():
    return lensequiv.create_model("c4", num_classes=2, stages=[[2], [2], [2]])


@pytest.mark.parametrize(
    ("wanted", "side", "size"),
    [(None, 64, 49), (None, 150, 97), (None, 97, 97), (None, 48, 33), (33, 64, 33)],
)
def test_the_largest_size_that_fits(model, wanted, side, size):
    assert checks.choose_size(model, wanted, side, usual=97) == size


@pytest.mark.parametrize(
    ("wanted", "side", "message"),
    [
        (97, 64, "--size 97, but the images have 64 pixels; expected --size 49"),
        (64, 150, "--size 64: c4 trains on odd sizes .*nearest: 49 or 65"),
        (None, 32, "the images have 32 pixels; c4 takes at least 33"),
    ],
)
def test_sizes_that_do_not_fit(model, wanted, side, message):
    with pytest.raises(ValueError, match=message):
        checks.choose_size(model, wanted, side, usual=97)


def test_every_image_is_looked_at(write, tmp_path, model):
    write(["train", "val"])
    found = sets.open_sets(tmp_path, test=False)
    model.set_input_size(49)
    checks.check_images(model, found.val)
    np.save(tmp_path / "val/b/1.npy", np.random.default_rng(0).random((40, 64)))
    with pytest.raises(ValueError, match=r"val/b/1\.npy.* has 40 x 64 pixels"):
        checks.check_images(model, found.val)
    np.save(tmp_path / "val/b/1.npy", np.random.default_rng(0).random((3, 64, 64)))
    with pytest.raises(ValueError, match=r"1\.npy has 3 channels; expected 1"):
        checks.check_images(model, found.val)
    (tmp_path / "val/b/1.npy").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1\.npy"):
        checks.check_images(model, found.val)
    images = found.train.load_arrays(progress=False)
    images[4, 0, 4:60, 4:60] = 0
    with pytest.raises(ValueError, match=r"train/b/1\.npy: .*nothing to scale to"):
        checks.check_images(model, found.train, images)


def test_half_precision_only_where_gain_and_offset_are_nothing(model):
    assert checks.half_if_harmless(model) == {"dtype": torch.float16, "scaled": True}
    study = lensequiv.create_model("singh2021-c4")
    study.preprocess = lensequiv.transforms.Singh2021Eval()
    assert checks.half_if_harmless(study) == {}


def test_a_folder_that_cannot_be_made(tmp_path, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        checks.check_room(tmp_path / "file" / "run", model, 1)
    with pytest.raises(OSError, match=r"has room for \d+ MiB; expected"):
        checks.check_room(tmp_path / "run", model, 10**9)


def test_images_of_another_scale_are_looked_at_as_the_network_gets_them(
    write, tmp_path, model
):
    write(["train", "val"])
    found = sets.open_sets(tmp_path, test=False)
    model.set_input_size(49)
    checks.check_images(model, found.val, scales=(0.05, 0.06))  # 53 pixels
    with pytest.raises(ValueError, match=r"val/a/0\.npy.* has 32 x 32 pixels"):
        checks.check_images(model, found.val, scales=(0.05, 0.1))
