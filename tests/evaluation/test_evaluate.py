import hashlib
import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from labelled_sets import CARD

import lensequiv
from lensequiv.data import ClassFolder, ImageError, open_dataset
from lensequiv.evaluation import evaluate, score
from lensequiv.plots import plot_confusion, plot_roc
from lensequiv.pretrained import save_pretrained
from lensequiv.reports import table
from lensequiv.transforms import RandomPose, resample


def set_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@torch.no_grad()
def directly(model, data, part, seed):
    """As examples/train.py: all images in memory, the model itself."""
    images = data.load_arrays(progress=False)
    torch.manual_seed(seed)
    turned = RandomPose(model.input_size, shift=0, rotate=1.0)
    rotated = torch.cat([turned(piece) for piece in images.split(part)])
    labels = data.labels.numpy()
    return [
        score(labels, logits=model(model.preprocess(x)), classes=data.classes)
        for x in (images, rotated)
    ]


@pytest.mark.parametrize("part", [4, 500])
@pytest.mark.parametrize("form", ["folder", "hdf5"])
def test_scores_are_those_of_the_training_script(
    model, folder, tmp_path, part, form, monkeypatch
):
    monkeypatch.setattr("lensequiv.evaluation._turned._PART", part)
    data, path = ClassFolder(folder), folder
    if form == "hdf5":
        path = tmp_path / "set.h5"
        with h5py.File(path, "w") as file:
            file["images"] = data.load_arrays(progress=False)[:, 0].numpy()
            file["labels"] = data.labels.numpy()
            file.attrs["classes"] = list(data.classes)
            file.attrs["manifest"] = (folder / "manifest.json").read_text()
    result = evaluate(model, path, seed=7, batch_size=4)
    expected = directly(model, data, part, seed=7)
    for found, wanted in zip((result.as_is, result.rotated), expected, strict=True):
        for name, value in wanted.values.items():
            assert found.values[name] == pytest.approx(value, abs=1e-4), name
        assert found.confusion.tolist() == wanted.confusion.tolist()
    assert result.as_is.values != pytest.approx(result.rotated.values, abs=1e-3)
    assert result.data["manifest"]["seed"] == 4
    assert result.data["images_per_class"] == {"no": 5, "sphere": 5, "vort": 5}


def test_generator_and_mode_are_left_alone(model, folder):
    model.train()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one = evaluate(model, folder, resamples=5)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    torch.manual_seed(4)
    again = evaluate(model, ClassFolder(folder), resamples=5)
    assert one.rotated.to_dict() == again.rotated.to_dict()
    other = evaluate(model, folder, resamples=5, seed=1)
    assert other.as_is.values == one.as_is.values
    assert other.rotated.values != one.rotated.values
    assert evaluate(model, folder, rotated=False, resamples=0).rotated is None


def test_classes_are_matched_by_name(model, folder):
    reference = evaluate(model, folder, rotated=False, resamples=0)
    data = open_dataset(folder, classes=["vort", "no", "sphere"])
    found = evaluate(model, data, rotated=False, resamples=0)
    assert found.as_is.summary() == reference.as_is.summary()
    model.classes = ("sphere", "vort", "no")
    renamed = evaluate(model, folder, rotated=False, resamples=0).as_is
    assert renamed.classes == model.classes
    # Logits stay where they are; the truth moves: sphere is now column 0.
    order = [1, 2, 0]
    assert renamed.confusion.tolist() == reference.as_is.confusion[order].tolist()


def test_other_classes_are_refused_with_both_lists(model, folder):
    (folder / "vort").rename(folder / "axion")
    with pytest.raises(
        ValueError, match=r"set has the class 'axion', .* are no, sphere, vort;"
    ):
        evaluate(model, folder)


def test_limit_takes_the_first_of_each_class(model, folder):
    result = evaluate(model, folder, limit=7, rotated=False, resamples=0)
    assert result.data["images_per_class"] == {"no": 3, "sphere": 2, "vort": 2}
    assert result.remarks == ("7 of the data set's 15 images were scored.",)
    for name, keep in {"no": 3, "sphere": 2, "vort": 2}.items():
        for i in range(keep, 5):
            (folder / name / f"{i}.npy").unlink()
    alone = evaluate(model, folder, rotated=False, resamples=0)
    assert alone.as_is.to_dict() == result.as_is.to_dict()
    with pytest.raises(ValueError, match="limit=2: expected at least one image"):
        evaluate(model, folder, limit=2)


def test_bad_input_is_named(model, folder, tmp_path):
    with pytest.raises(ValueError, match="opened with a transform"):
        evaluate(model, ClassFolder(folder, transform=lambda x: x))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate(model, tmp_path / "nowhere")
    np.save(folder / "sphere" / "2.npy", np.full((60, 60), np.nan))
    with pytest.raises(ImageError, match=r"sphere.2\.npy"):
        evaluate(model, folder)
    np.save(folder / "sphere" / "2.npy", np.random.default_rng(0).normal(size=(20, 20)))
    with pytest.raises(ValueError, match=r"sphere.2\.npy.*20 x 20"):
        evaluate(model, folder)


def test_small_and_mixed_sizes_are_rotated_too(model, folder, pictures):
    model.preprocess.keep = (41,)
    np.save(folder / "no" / "1.npy", pictures[3, 0, 9:50, 9:50])
    result = evaluate(model, folder, resamples=0)
    assert result.rotated.images == 15


def test_weights_are_identified(model, folder, tmp_path):
    result = evaluate(model, folder, rotated=False, resamples=0, name="mine")
    saved = save_pretrained(model, tmp_path / "w") / "model.safetensors"
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    assert result.weights == {
        "name": "mine",
        "model": "c4",
        "sha256": digest,
        "recipe": None,
    }
    assert result.card is None and result.data["unlike"] is None


def test_images_unlike_the_training_images_are_counted(model, folder, pictures):
    model.weights_info = {"image_statistics": {"centre": [-10.0, 10.0]}}
    result = evaluate(model, folder, rotated=False, resamples=0)
    assert result.data["unlike"] == 0
    model.weights_info = {"image_statistics": {"centre": [5.0, 10.0]}}
    result = evaluate(model, folder, rotated=False, resamples=0)
    assert result.data["unlike"] == 15


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({}, None),
        ({"seed": 1}, "trained on images of this recipe and seed"),
        ({"seed": 2}, "chose the weights among others"),
        ({"recipe": {"name": "modelJ"}}, "trained on modelF; these images are modelJ"),
        (
            {"recipe": {"name": "modelJ", "version": 2}},
            "trained on modelF; these images are modelJ@2",
        ),
        ({"seed": "four"}, "has no manifest"),
        ({"recipe": "modelF"}, "has no manifest"),
    ],
)
def test_card_and_remarks(model, folder, changes, remark):
    model.weights_info = CARD
    set_manifest(folder, **changes)
    result = evaluate(model, folder, rotated=False, resamples=0)
    same = result.data["manifest"] is not None and "recipe" not in changes
    expected = {
        "test": CARD["metrics"]["test"],
        "test_rotated": CARD["metrics"]["test_rotated"],
        "seed": 4,
        "images": 15,
    }
    assert result.card == (expected if same else None)
    assert len(result.remarks) == (remark is not None)
    assert all(remark in text for text in result.remarks)


@pytest.mark.parametrize(
    ("card", "version", "same"),
    [
        ("modelJ@2", 2, True),
        ("modelJ@2", 1, False),
        ("modelJ", 2, True),  # recorded before versions were
        ("modelJ@1", None, True),
    ],
)
def test_versions_of_a_recipe_are_told_apart(model, folder, card, version, same):
    trained = {**CARD["trained_on"], "recipe": card}
    model.weights_info = {**CARD, "trained_on": trained}
    recipe = {"name": "modelJ", **({"version": version} if version else {})}
    set_manifest(folder, recipe=recipe)
    result = evaluate(model, folder, rotated=False, resamples=0)
    assert (result.card is not None) == same
    assert any("trained on" in text for text in result.remarks) != same


def test_result_is_json(model, folder):
    model.weights_info = CARD
    result = evaluate(model, folder, resamples=10)
    back = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert back["card"]["test"]["auc_micro"] == 0.9
    assert back["as_is"]["images"] == back["rotated"]["images"] == 15
    assert back["settings"]["resamples"] == 10
    assert back["date"].endswith("+00:00")
    assert back["versions"]["torch"] == torch.__version__


@pytest.mark.slow
def test_two_of_three_classes_are_scored(model, folder):
    whole = evaluate(model, folder, rotated=False, resamples=0).as_is
    model.weights_info = CARD
    shutil.rmtree(folder / "vort")
    set_manifest(folder, images=10)
    result = evaluate(model, folder, resamples=20)
    assert result.data["images_per_class"] == {"no": 5, "sphere": 5, "vort": 0}
    found = result.as_is
    assert list(found.auc) == ["no", "sphere"]
    assert list(found.roc) == ["micro", "no", "sphere"]
    assert found.auc_macro == pytest.approx(np.mean(list(found.auc.values())))
    assert set(found.intervals) == set(found.values)
    # The rows are those of the whole set: an answer of the absent class is wrong.
    assert found.confusion[:2].tolist() == whole.confusion[:2].tolist()
    assert found.confusion[2].tolist() == [0, 0, 0]
    assert found.accuracy == whole.confusion[[0, 1], [0, 1]].sum() / 10
    assert result.card is None and "No image is of the class vort" in result.remarks[0]
    assert "vort against" not in table(result)
    limited = evaluate(model, folder, limit=3, rotated=False, resamples=0)
    assert limited.data["images_per_class"] == {"no": 2, "sphere": 1, "vort": 0}
    plot_confusion(found)
    plot_roc(found)
    json.dumps(result.to_dict(), allow_nan=False)
    shutil.rmtree(folder / "sphere")
    with pytest.raises(ValueError, match="images of no alone; expected two classes"):
        evaluate(model, folder)


def test_a_model_of_two_classes(folder, shaken):
    two = lensequiv.create_model(
        "c4", stem_fields=2, stem_kernel=7, stages=((2,),), num_classes=2
    )
    two = shaken(two).eval().set_input_size(49)
    two.classes = ("sphere", "no")
    with pytest.raises(
        ValueError, match=r"set has the class 'vort', .* classes are sphere, no;"
    ):
        evaluate(two, folder)
    shutil.rmtree(folder / "vort")
    result = evaluate(two, folder, rotated=False, resamples=0)
    assert result.as_is.classes == ("sphere", "no")
    assert result.as_is.auc["no"] == pytest.approx(result.as_is.auc["sphere"])


@pytest.mark.parametrize("form", ["folder", "hdf5"])
def test_the_manifest_knows_the_pixel_scale(model, folder, tmp_path, form):
    model.pixel_scale = 0.05
    set_manifest(folder, recipe={"name": "modelF", "pixel_scale": 0.06})
    path = folder
    if form == "hdf5":
        path, data = tmp_path / "set.h5", ClassFolder(folder)
        with h5py.File(path, "w") as file:
            file["images"] = data.load_arrays(progress=False)[:, 0].numpy()
            file["labels"] = data.labels.numpy()
            file.attrs["classes"] = list(data.classes)
            file.attrs["manifest"] = (folder / "manifest.json").read_text()
    assert evaluate(model, path, rotated=False, resamples=0).data["unlike"] == 15
    told = evaluate(model, path, pixel_scale=0.05, rotated=False, resamples=0)
    assert told.data["unlike"] is None and told.settings["pixel_scale"] == 0.05
    result = evaluate(model, path, resample=True, resamples=0, seed=7)
    assert result.data["unlike"] is None and result.settings["resample"] is True
    # The same images, resampled beforehand; turned after that, too.
    other = tmp_path / "resampled"
    for image in folder.glob("*/*.npy"):
        new = other / image.relative_to(folder)
        new.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.from_numpy(np.load(image))
        np.save(new, resample(pixels, 0.06, 0.05).numpy())
    expected = evaluate(model, other, resamples=0, seed=7)
    for found, wanted in (
        (result.as_is, expected.as_is),
        (result.rotated, expected.rotated),
    ):
        assert found.values == pytest.approx(wanted.values, abs=1e-6)


def test_the_plane_can_be_chosen(model, folder, tmp_path):
    for path in sorted(folder.glob("*/*.npy")):
        image = np.load(path)
        planes = [fits.PrimaryHDU(), fits.ImageHDU(image[::-1], name="A")]
        planes.append(fits.ImageHDU(image, name="B"))
        fits.HDUList(planes).writeto(path.with_suffix(".fits"))
        path.rename(tmp_path / f"{path.parent.name}-{path.name}")
    found = evaluate(model, folder, hdu="B", rotated=False, resamples=0)
    assert found.settings["plane"] == "B"
    other = evaluate(model, folder, hdu="A", rotated=False, resamples=0)
    for path in sorted(folder.glob("*/*.fits")):
        old = tmp_path / f"{path.parent.name}-{path.stem}.npy"
        old.rename(path.with_suffix(".npy"))
        path.unlink()
    expected = evaluate(model, folder, rotated=False, resamples=0)
    assert found.as_is.to_dict() == expected.as_is.to_dict()
    assert other.as_is.values != found.as_is.values
    with pytest.raises(ValueError, match="the data set is open already"):
        evaluate(model, ClassFolder(folder, hdu="B"), hdu="A")


def test_resamples_are_checked_before_the_work(model, tmp_path):
    with pytest.raises(ValueError, match="resamples=-1: expected an integer from 0"):
        evaluate(model, tmp_path / "nowhere", resamples=-1)


def test_a_model_whose_classes_nobody_named(folder):
    model = lensequiv.create_model("c4", num_classes=3).set_input_size(49)
    with pytest.raises(ValueError, match=r"class0, class1, .*: set model\.classes to"):
        evaluate(model, folder)
