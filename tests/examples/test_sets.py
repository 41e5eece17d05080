"""Sets of a training run, as they are found and opened."""

from types import SimpleNamespace

import pytest
import sets
import start
import torch

from lensequiv.data import ImageError, open_dataset


def test_sets_without_a_test_set(write, capsys, tmp_path):
    found = sets.open_sets(write(["train", "val"]))
    assert found.classes == ("a", "b") and found.test is None
    assert (
        "holds no test/: the weights will be saved without" in capsys.readouterr().out
    )


def test_what_is_missing_is_said(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        sets.open_sets(tmp_path / "no")
    write(["train", "test"])
    with pytest.raises(FileNotFoundError, match=r"no images to validate with; .*val/"):
        sets.open_sets(tmp_path)


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_are_those_of_the_training_images(write, tmp_path, split):
    write({"train", "val", "test"} - {split})
    write([split], classes=("a", "c"))
    with pytest.raises(ImageError, match=rf"{split} (lacks|also holds) the class"):
        sets.open_sets(tmp_path)


def test_classes_of_the_weight_to_start_from(write, tmp_path):
    write(["train", "val"])
    assert sets.open_sets(tmp_path, classes=["b", "a"]).classes == ("b", "a")
    with pytest.raises(ImageError, match="lacks the class folders no, sphere, vort"):
        sets.open_sets(tmp_path, classes=["no", "sphere", "vort"])


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


def test_a_manifest_of_another_kind_is_none(write, tmp_path):
    data = open_dataset(write(["train"]) / "train")
    path = tmp_path / "train" / "manifest.json"
    assert sets.manifest(data) == {}
    for text in ("no JSON", "[]", "{}", '{"recipe": "x"}', '{"recipe": {"a": 1}}'):
        path.write_text(text)
        assert sets.manifest(data) == {}
    path.write_text('{"recipe": {"name": "x"}, "seed": 3}')
    assert sets.manifest(data)["seed"] == 3
