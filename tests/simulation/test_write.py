"""Sets on disk: files, manifest, checksums, all or nothing, resuming."""

import hashlib
import json
import subprocess
import sys
from dataclasses import fields, replace
from functools import cache

import h5py
import numpy as np
import pytest
import torch
from filelock import FileLock

import lensequiv
from lensequiv.data import ClassFolder, open_dataset
from lensequiv.simulation import (
    Recipe,
    _physics,
    _write,
    get_recipe,
    iter_blocks,
    model_f,
    model_j,
    simulate,
    write_class_folders,
    write_hdf5,
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
        "SHA256SUMS",
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
    sums = hashlib.sha256((out / "SHA256SUMS").read_bytes()).hexdigest()
    assert manifest == {
        "recipe": json.loads(json.dumps(get_recipe(recipe).describe())),
        "images": 7,
        "seed": 4,
        "versions": {
            "lensequiv": lensequiv.__version__,
            "numpy": np.__version__,
            "torch": str(torch.__version__),
        },
        "checksums": {"SHA256SUMS": sums},
    }
    # Every number is there, so the set can be made again.
    told = manifest["recipe"]
    assert told["substructure"]["vort"]["type"] == "Vortex"
    assert (
        told["substructure"]["vort"]["fraction"]
        == {
            "modelF": [0.03, 0.055],
            "modelJ": [0.04, 0.055],
        }[recipe]
    )
    assert told["noise"] == {"sky": get_recipe(recipe).noise.sky, "type": "PoissonSky"}
    names = {field.name for field in fields(Recipe)}
    assert told.keys() == names


def test_checksums(written):
    _, out = written
    lines = (out / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 7
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


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


@pytest.mark.slow
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


WRITERS = pytest.mark.parametrize("write", [write_class_folders, write_hdf5])


def contents(path):
    """Bytes of a file, or of every file of a folder."""
    if path.is_file():
        return path.read_bytes()
    return {name: (path / name).read_bytes() for name in listing(path)}


# One process loads the package; each writer is a child of it, and dies after so many
# blocks.
_DYING = """
import os, sys
from dataclasses import replace
from pathlib import Path
from lensequiv import simulation
from lensequiv.simulation import _physics, _write
blocks, made = _write.iter_blocks, []
def dying(*args, **kwargs):
    for block in blocks(*args, **kwargs):
        if len(made) == after:
            os._exit(9)
        made.append(1)
        yield block
_write.iter_blocks = dying
recipe = replace(simulation.model_f, name="small", pixels=24)
_physics.check_extra()  # loads what all of them need
for writer in ("write_class_folders", "write_hdf5"):
    for after in (0, 1, 4):
        out = Path(sys.argv[1], f"{writer}{after}")
        out.mkdir()
        if (child := os.fork()) == 0:
            write = getattr(simulation, writer)
            write(recipe, 300, out / "set.h5", seed=3, progress=False)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, out
"""


@pytest.fixture(scope="module")
def dead(tmp_path_factory):
    """Folders by writer and number of blocks, each with what a dead writer left."""
    folder = tmp_path_factory.mktemp("dead")
    subprocess.run([sys.executable, "-c", _DYING, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a writer writes that nobody stops."""

    @cache
    def written(write):
        out = tmp_path_factory.mktemp("whole") / "whole.h5"
        return write(SMALL, 300, out, seed=3, progress=False)

    return written


@pytest.mark.slow
@WRITERS
@pytest.mark.parametrize("after", [0, 1, 4])
def test_killed_and_started_again(dead, whole, write, after):
    """A process that dies at once leaves nothing under the name, and a resume ends
    at the same bytes."""
    expected = whole(write)
    tmp_path = dead / f"{write.__name__}{after}"
    out = tmp_path / "set.h5"
    assert not out.exists()
    unfinished = tmp_path / ".set.h5.unfinished"
    assert unfinished.is_dir()
    if write is write_class_folders and after:
        # What a kill can leave: half a line, and half of the file that comes next.
        with (unfinished / "SHA256SUMS").open("a") as sums:
            sums.write("0123")
        following = unfinished / {1: "no/64.npy", 4: "vort/0.npy"}[after]
        following.parent.mkdir(exist_ok=True)
        following.write_bytes(b"half")
    simulated = []

    def counting(*args, **kwargs):
        for block in iter_blocks(*args, **kwargs):
            simulated.append(len(block[1]))
            yield block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_write, "iter_blocks", counting)
        write(SMALL, 300, out, seed=3, progress=False)
    # 100 images a class, in blocks of 64 and 36.
    assert sum(simulated) == 300 - {0: 0, 1: 64, 4: 200}[after]
    assert not unfinished.exists()
    assert contents(out) == contents(expected)


@pytest.mark.slow
@WRITERS
def test_another_unfinished_set_is_left_alone(tmp_path, monkeypatch, write):
    out = tmp_path / "set.h5"

    def failing(*args, **kwargs):
        yield next(iter_blocks(*args, **kwargs))
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(_write, "iter_blocks", failing)
        with pytest.raises(OSError, match="disk full"):
            write(SMALL, 300, out, seed=0, progress=False)
    before = contents(tmp_path / ".set.h5.unfinished")
    for n, seed, what in ((300, 1, "seed"), (30, 0, "images")):
        with pytest.raises(
            FileExistsError, match=f"unfinished set with another {what}"
        ):
            write(SMALL, n, out, seed=seed, progress=False)
    assert contents(tmp_path / ".set.h5.unfinished") == before
    write(SMALL, 300, out, seed=0, progress=False)
    assert out.exists()


@WRITERS
def test_two_writers_at_once(tmp_path, write):
    out = tmp_path / "set.h5"
    (tmp_path / ".set.h5.unfinished").mkdir()
    with (
        FileLock(tmp_path / ".set.h5.unfinished" / ".lock"),
        pytest.raises(FileExistsError, match="another process is writing"),
    ):
        write(SMALL, 3, out, seed=0, progress=False)
    write(SMALL, 3, out, seed=0, progress=False)


def test_hdf5(tmp_path):
    out = write_hdf5(model_j, 7, str(tmp_path / "deep" / "set.h5"), seed=4)
    assert [p.name for p in out.parent.iterdir()] == ["set.h5"]
    simulation = simulate(model_j, 7, seed=4)
    with h5py.File(out) as file:
        assert set(file) == {"images", "labels", "parameters"}
        assert file["images"].dtype == np.float32
        assert file["labels"].dtype == np.int64
        np.testing.assert_array_equal(file["labels"], simulation.labels)
        for image, counts in zip(file["images"], simulation.images, strict=True):
            np.testing.assert_allclose(image, min_max(counts), rtol=1e-6)
        assert set(file["parameters"]) == set(simulation.parameters)
        for name, value in simulation.parameters.items():
            np.testing.assert_array_equal(file["parameters"][name], value)
        assert list(file.attrs["classes"]) == ["no", "sphere", "vort"]
        manifest = json.loads(file.attrs["manifest"])
        assert manifest["recipe"]["name"] == "modelJ"
        assert (manifest["seed"], manifest["images"]) == (4, 7)
        for name, digest in manifest["checksums"].items():
            assert hashlib.sha256(file[name][...].tobytes()).hexdigest() == digest
    data = open_dataset(out)
    assert data.classes == ("no", "sphere", "vort")
    assert torch.equal(data.labels, simulation.labels)


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


@WRITERS
@pytest.mark.parametrize("missing", ["caustics", "astropy"])
def test_missing_extra_is_named_before_anything_is_written(
    tmp_path, write, missing, monkeypatch
):
    _physics.check_extra.cache_clear()  # it remembers that all was there
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"needs {missing}") as error:
        write("modelF", 3, tmp_path / "set.h5", seed=0)
    assert "pip install 'lensequiv[sim]'" in str(error.value)
    assert list(tmp_path.iterdir()) == []
