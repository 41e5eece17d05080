"""`write_class_folders`: files, manifest, all or nothing."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.data import ClassFolder
from lensequiv.simulation import (
    Recipe,
    get_recipe,
    model_f,
    model_j,
    simulate,
    write_class_folders,
)

SMALL = replace(model_f, name="small", pixels=24)  # cheap: for what size cannot change


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def min_max(image):
    return (image - image.min()) / (image.max() - image.min())


@pytest.fixture(scope="module", params=["modelF", "modelJ"])
def written(request, tmp_path_factory):
    """Write seven images; returns the recipe's name and what the call returned."""
    out = tmp_path_factory.mktemp("sets") / "deep" / request.param
    result = write_class_folders(request.param, 7, str(out), seed=4, progress=False)
    assert result == out
    return request.param, out


def test_files(written):
    recipe, out = written
    assert listing(out) == [
        "manifest.json",
        "no/0.npy",
        "no/1.npy",
        "no/2.npy",
        "sphere/0.npy",
        "sphere/1.npy",
        "vort/0.npy",
        "vort/1.npy",
    ]
    assert [p.name for p in out.parent.iterdir()] == [recipe]
    expected = iter(simulate(recipe, 7, seed=4).images.numpy())
    for name, count in (("no", 3), ("sphere", 2), ("vort", 2)):
        for i in range(count):
            image = np.load(out / name / f"{i}.npy", allow_pickle=False)
            assert image.shape == (150, 150)
            assert image.dtype == np.float32
            counts = next(expected)
            if recipe == "modelF":
                np.testing.assert_array_equal(image, counts)
            else:
                assert (image.min(), image.max()) == (0, 1)
                np.testing.assert_allclose(image, min_max(counts), rtol=1e-6)


def test_manifest(written):
    recipe, out = written
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest.keys() == {"recipe", "images", "seed", "versions"}
    assert manifest["images"] == 7
    assert manifest["seed"] == 4
    assert manifest["versions"] == {
        "lensequiv": lensequiv.__version__,
        "numpy": np.__version__,
        "torch": str(torch.__version__),
    }
    assert manifest["recipe"].keys() == asdict(get_recipe(recipe)).keys()
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in manifest["recipe"].items()
    }
    assert Recipe(**fields) == get_recipe(recipe)  # so the set can be made again


def test_class_folder_reads_it(written):
    recipe, out = written
    data = ClassFolder(out)
    assert data.classes == ("no", "sphere", "vort")
    simulation = simulate(recipe, 7, seed=4)
    assert torch.equal(data.labels, simulation.labels)
    arrays = data.load_arrays(progress=False)
    assert arrays.shape == (7, 1, 150, 150)
    for image, counts in zip(arrays[:, 0], simulation.images, strict=True):
        expected = counts if recipe == "modelF" else min_max(counts)
        torch.testing.assert_close(image, expected, rtol=1e-6, atol=0)


def test_order_over_blocks(tmp_path):
    """With 67 files a class, 10.npy must not come before 2.npy."""
    out = write_class_folders(SMALL, 200, tmp_path / "set", seed=8, progress=False)
    data, simulation = ClassFolder(out), simulate(SMALL, 200, seed=8)
    assert [p.name for p in data.paths[:67]] == [f"{i}.npy" for i in range(67)]
    assert torch.equal(data.labels, simulation.labels)
    assert torch.equal(data.load_arrays(progress=False)[:, 0], simulation.images)


def test_stored_form_follows_the_recipe(tmp_path):
    recipe = replace(model_j, pixels=24, stored="counts")
    out = write_class_folders(recipe, 3, tmp_path / "a", seed=0, progress=False)
    assert np.load(out / "no" / "0.npy").max() > 10
    recipe = replace(SMALL, stored="minmax")
    out = write_class_folders(recipe, 3, tmp_path / "b", seed=0, progress=False)
    assert np.load(out / "no" / "0.npy").max() == 1


def test_existing_folder_is_left_alone(tmp_path):
    out = tmp_path / "set"
    (out / "no").mkdir(parents=True)
    (out / "no" / "0.npy").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=str(out)):
        write_class_folders(SMALL, 3, out, seed=0, progress=False)
    assert listing(tmp_path) == ["set/no/0.npy"]
    assert (out / "no" / "0.npy").read_bytes() == b"mine"


def test_existing_file_and_empty_folder_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        with pytest.raises(FileExistsError, match=name):
            write_class_folders(SMALL, 3, tmp_path / name, seed=0, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_interrupted(tmp_path, monkeypatch, error):
    out, calls, save = tmp_path / "set", [], np.save

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == 5:
            raise error
        return save(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", failing)
        with pytest.raises(type(error)):
            write_class_folders(SMALL, 9, out, seed=0, progress=False)
    assert len(calls) == 5
    assert not out.exists()
    # Fewer images now: none of the first attempt's may remain.
    write_class_folders(SMALL, 3, out, seed=0, progress=False)
    files = ["manifest.json", "no/0.npy", "sphere/0.npy", "vort/0.npy"]
    assert listing(tmp_path) == [f"set/{name}" for name in files]
    expected = simulate(SMALL, 3, seed=0).images
    assert torch.equal(ClassFolder(out).load_arrays(progress=False)[:, 0], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"n": 2}, "n=2"),
        ({"seed": -1}, "seed=-1"),
        ({"recipe": "modelX"}, "unknown recipe 'modelX'"),
    ],
)
def test_bad_arguments_leave_nothing(tmp_path, arguments, message):
    arguments = {"recipe": SMALL, "n": 3, "seed": 0} | arguments
    with pytest.raises(ValueError, match=message):
        write_class_folders(**arguments, out=tmp_path / "set", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_progress_and_workers(tmp_path, capsys):
    write_class_folders(SMALL, 3, tmp_path / "a", seed=0, workers=1)
    assert "small" in capsys.readouterr().err
    write_class_folders(SMALL, 3, tmp_path / "b", seed=0, workers=2, progress=False)
    assert capsys.readouterr().err == ""
    for name in ("no", "sphere", "vort"):
        a, b = (np.load(tmp_path / x / name / "0.npy") for x in "ab")
        np.testing.assert_array_equal(a, b)
