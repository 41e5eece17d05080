"""What the training examples check before their first step."""

from types import SimpleNamespace

import numpy as np
import pytest
import sets
import start
import torch

import lensequiv
from lensequiv.data import ImageError


def write(root, splits, classes=("a", "b"), side=64, n=3):
    random = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                np.save(folder / f"{i}.npy", random.random((side, side)))
    return root


@pytest.fixture
def model():
    return lensequiv.create_model("c4", num_classes=2, stages=[[2], [2], [2]])


def test_sets_without_a_test_set(tmp_path, capsys):
    found = sets.open_sets(write(tmp_path, ["train", "val"]))
    assert found.classes == ("a", "b") and found.test is None
    assert (
        "holds no test/: the weights will be saved without" in capsys.readouterr().out
    )


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        sets.open_sets(tmp_path / "no")
    write(tmp_path, ["train", "test"])
    with pytest.raises(FileNotFoundError, match=r"no images to validate with; .*val/"):
        sets.open_sets(tmp_path)


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_are_those_of_the_training_images(tmp_path, split):
    write(tmp_path, {"train", "val", "test"} - {split})
    write(tmp_path, [split], classes=("a", "c"))
    with pytest.raises(ImageError, match=rf"{split} (lacks|also holds) the class"):
        sets.open_sets(tmp_path)


def test_classes_of_the_weight_to_start_from(tmp_path):
    write(tmp_path, ["train", "val"])
    assert sets.open_sets(tmp_path, classes=["b", "a"]).classes == ("b", "a")
    with pytest.raises(ImageError, match="lacks the class folders no, sphere, vort"):
        sets.open_sets(tmp_path, classes=["no", "sphere", "vort"])


@pytest.mark.parametrize(
    ("wanted", "side", "size"),
    [(None, 64, 49), (None, 150, 97), (None, 97, 97), (None, 48, 33), (33, 64, 33)],
)
def test_the_largest_size_that_fits(model, wanted, side, size):
    assert sets.choose_size(model, wanted, side, usual=97) == size


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
        sets.choose_size(model, wanted, side, usual=97)


def test_every_image_is_looked_at(tmp_path, model):
    write(tmp_path, ["train", "val"])
    found = sets.open_sets(tmp_path, test=False)
    model.set_input_size(49)
    sets.check_images(model, found.val)
    np.save(tmp_path / "val/b/1.npy", np.random.default_rng(0).random((40, 64)))
    with pytest.raises(ValueError, match=r"val/b/1\.npy.* has 40 x 64 pixels"):
        sets.check_images(model, found.val)
    np.save(tmp_path / "val/b/1.npy", np.random.default_rng(0).random((3, 64, 64)))
    with pytest.raises(ValueError, match=r"1\.npy has 3 channels; expected 1"):
        sets.check_images(model, found.val)
    (tmp_path / "val/b/1.npy").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1\.npy"):
        sets.check_images(model, found.val)
    images = found.train.load_arrays(progress=False)
    images[4, 0, 4:60, 4:60] = 0
    with pytest.raises(ValueError, match=r"train/b/1\.npy: .*nothing to scale to"):
        sets.check_images(model, found.train, images)


def test_half_precision_only_where_gain_and_offset_are_nothing(model):
    assert sets.half_if_harmless(model) == {"dtype": torch.float16, "scaled": True}
    study = lensequiv.create_model("singh2021-c4")
    study.preprocess = lensequiv.transforms.Singh2021Eval()
    assert sets.half_if_harmless(study) == {}


def test_a_folder_that_cannot_be_made(tmp_path, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        sets.check_room(tmp_path / "file" / "run", model, 1)
    with pytest.raises(OSError, match=r"has room for \d+ MiB; expected"):
        sets.check_room(tmp_path / "run", model, 10**9)


def test_validation_images_of_a_recipe_in_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"base": "modelF", "name": "mine", "pixels": 64}')
    wanted = SimpleNamespace(fresh=[str(path)], init=None, data=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "simulated_set", few_images)
        found = start.opened_sets(wanted, torch.device("cpu"))
    assert found.train is None and found.classes == ("no", "sphere", "vort")
    assert found.val.load_arrays().shape == (24, 1, 51, 51)


def few_images(recipe, images, *more):
    return sets.SimulatedSet(recipe, 24, *more)


def test_a_manifest_of_another_kind_is_none(tmp_path):
    for text in ("no JSON", "[]", "{}", '{"recipe": "x"}', '{"recipe": {"a": 1}}'):
        (tmp_path / "manifest.json").write_text(text)
        assert sets.manifest(tmp_path) == {}
    (tmp_path / "manifest.json").write_text('{"recipe": {"name": "x"}, "seed": 3}')
    assert sets.manifest(tmp_path)["seed"] == 3
