"""The networks that benchmarks time beside each other are the ones they claim to be."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.simulation import simulate

ROOT = Path(__file__).parents[1]


@pytest.fixture
def predict(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("predict")


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["c8-modelF@1", "d4-modelJ@1"])
def test_every_side_classifies(predict, weights, monkeypatch):
    create = lensequiv.create_model

    def slim(name, **options):
        """The networks of 2021 with the same layers, in a tenth of the time."""
        if name.startswith("singh2021"):
            options["fields"] = (4, 6, 6, 8, 8, 6)
        return create(name, **options)

    monkeypatch.setattr(predict, "BATCH", 4)
    monkeypatch.setattr(lensequiv, "create_model", slim)
    sides = predict.network_sides(weights, quick=True)  # compares e2cnn's with ours
    ours = weights.split("-")[0]
    expected = sides[f"{ours}, lensequiv"][0]()
    for name, (side, images) in sides.items():
        logits = side()
        assert logits.shape == (images, 3), name
        if name in (f"{ours}, e2cnn modules", f"{ours}, plain"):
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_training_step_of_e2cnn_modules_reaches_every_weight(predict, shaken):
    model = shaken(lensequiv.create_model("c4", initialize=False)).train()
    rebuilt = predict.OfE2cnnModules(model).train()
    rebuilt(torch.rand(4, 1, 97, 97)).square().sum().backward()
    missing = [n for n, p in rebuilt.named_parameters() if p.grad is None]
    assert not missing


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(
    predict, monkeypatch, tmp_path
):
    growth = importlib.import_module("growth")
    argv = ["growth.py", "--plot", str(tmp_path / "absent" / "a.png")]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(growth, "variations", lambda: pytest.fail("work was begun"))
    with pytest.raises(OSError, match="absent does not exist"):
        growth.main()


@pytest.fixture
def robustness(predict, monkeypatch):
    """The real thing on 3 lenses, for two changes besides those of the images."""
    module = importlib.import_module("robustness")
    all_changes = module.changes_of
    few = ("none", "sky x 1.5")
    monkeypatch.setattr(module, "ROUND", 3)
    monkeypatch.setattr(
        module, "changes_of", lambda f: {c: all_changes(f)[c] for c in few}
    )

    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["robustness.py", *map(str, argv)])
        module.main()

    return run


@pytest.mark.slow
def test_robustness_goes_on_and_adds(robustness, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    call = ["--weights", "c4-modelF@1", "--out", out, "--images"]
    robustness(*call, 3)
    first = json.loads((out / "robustness.json").read_text())["modelF"]["c4-modelF@1"]
    assert [row["change"] for row in first][:2] == ["none", "sky x 1.5"]
    assert [row["images"] for row in first] == [3] * 4
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    capsys.readouterr()
    robustness(*call, 3)  # nothing is left to do
    assert "round" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")} == files
    next(iter(files)).unlink()
    resnet = lensequiv.create_model("resnet18").eval()
    resnet.classes = ("no", "sphere", "vort")
    resnet.save_pretrained(tmp_path / "resnet" / "best")
    call.insert(2, tmp_path / "resnet" / "best")
    robustness(*call, 6)
    both = json.loads((out / "robustness.json").read_text())
    assert list(both["modelF"]) == ["c4-modelF@1", "resnet"]
    assert list(both["modelJ"]) == ["resnet"]  # its recipe is not on record
    for rows in both["modelF"].values():
        assert [row["images"] for row in rows] == [6] * 4
    lines = (out / "robustness.md").read_text().splitlines()
    row = [line for line in lines if line.startswith("| sky x 1.5 \\*")][-1]
    accuracy = both["modelF"]["c4-modelF@1"][1]["accuracy"]
    assert row.split("|")[2].split("/")[0].strip() == f"{100 * accuracy:.1f}"


@pytest.mark.slow
def test_robustness_on_original_images(robustness, tmp_path, capsys):
    lenses = simulate("modelF", 6, seed=3)
    images = (lenses.images / lenses.images.amax((1, 2), keepdim=True)).half().numpy()
    labels = np.array(lenses.classes)[lenses.labels.numpy()]
    np.savez(tmp_path / "F.npz", images=images[::-1], labels=labels[::-1])
    call = ["--weights", "c8-modelF@1", "--out", tmp_path, "--images", 3]
    robustness(*call, "--originals", tmp_path, "--plot")
    picture = (tmp_path / "robustness-modelF.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    rows = json.loads((tmp_path / "robustness.json").read_text())["modelF"]
    last = rows["c8-modelF@1"][-1]
    assert (last["change"], last["images"]) == ("original images", 6)
    assert last["accuracy"] == 1
    assert "3 lenses a change, 6 original images" in capsys.readouterr().out


@pytest.fixture
def real_lenses(predict):
    return importlib.import_module("real_lenses")


@pytest.mark.slow
def test_real_lenses_are_classified_in_every_state(
    real_lenses, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "real" / "slacs13_hst"
    folder.mkdir(parents=True)
    lenses = simulate("hst", 6, seed=302_790)
    bare = (lenses.parameters["light_amplitude"] < 0).any(1)
    names = ("0605-52353-503", "J0946+1006")
    for i, name in zip(np.flatnonzero(~bare)[:2], names, strict=True):
        image = lenses.images[i, 25:125, 25:125].numpy()
        np.save(folder / f"{name}_npix100.npy", image.astype(">f4"))
    monkeypatch.setattr(real_lenses, "CHANGED", 1)
    argv = ["real_lenses.py", folder.parent, "--out", tmp_path, "--smooth", 2]
    argv += ["--weights", "c4-modelJ@2", "--plot", tmp_path / "figures"]
    monkeypatch.setattr(sys, "argv", list(map(str, argv)))
    real_lenses.main()
    text = (tmp_path / "real_lenses.md").read_text()
    assert text in capsys.readouterr().out
    for name in ("real-lenses.png", "real-lenses-stability.png"):
        picture = (tmp_path / "figures" / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
    (path,) = tmp_path.glob("answers-*.json")
    answers = json.loads(path.read_text())
    real = answers["lenses"]["real: SDSS 0605-503, F814W"]
    for state in ("as it is", "light subtracted"):
        rows = real["states"][state]
        (before,) = rows["none"]
        assert before["notes"] and sum(before["p"]) == pytest.approx(1, abs=1e-5)
        for row in rows["quarter turns"]:  # exact, but for rounding
            assert row["p"] == pytest.approx(before["p"], abs=2e-3)
    # The lens with a claimed subhalo is listed, but does not count in any rate.
    assert "| J0946+1006 | " in text and "| as it is | flagged: 1 of 1 " in text
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(real_lenses, "measured", lambda *_: pytest.fail("done before"))
    real_lenses.main()
    assert (tmp_path / "real_lenses.md").read_text() == text
    assert path.stat().st_mtime_ns >= written


@pytest.mark.slow
def test_the_lens_galaxy_is_subtracted_and_the_ring_stays(real_lenses):
    light = importlib.import_module("lens_light")
    y, x = np.mgrid[-50:51, -50:51] + 0.0
    r = np.hypot(0.9 * (x - 0.5), (y + 0.3) / 0.9)
    galaxy = 5 * np.exp(-3.67 * ((r + 0.3) / 8) ** 0.5)
    ring = 0.1 * np.exp(-((np.hypot(x, y) - 26) ** 2) / 8) * (x > 0)
    noise = np.random.default_rng(7).normal(0, 0.004, x.shape)
    image = galaxy + ring + noise + 0.05
    assert light.sky_noise(image) == pytest.approx(0.004, rel=0.1)
    rest = light.subtracted(image)
    outside = np.hypot(x, y) > 6
    error = (rest.pixels - ring)[outside]
    assert np.sqrt(np.mean(error**2)) < 0.006  # noise alone: 0.004
    assert 0.05 < rest.masked < 0.4 and rest.left < 0.1
