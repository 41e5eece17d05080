import json

import numpy as np
import pytest
from PIL import Image

import lensequiv
from lensequiv.cli import main
from lensequiv.data import sample_paths
from lensequiv.equivariance import measure

TINY = {"stem_fields": 2, "stages": [[2], [3]], "stem_kernel": 9, "kernel": 3}


@pytest.fixture
def weights(tmp_path):
    model = lensequiv.create_model("d4", **TINY).eval()
    return str(model.save_pretrained(tmp_path / "tiny"))


def run(capsys, *argv):
    code = main(["equivariance", *(str(a) for a in argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_images_on_the_pixel_grid(capsys, weights):
    image = sample_paths("modelF")[0]
    code, out, _ = run(capsys, weights, "--images", image, "--float64")
    assert code == 0
    title, heads, *rows = out.strip().splitlines()
    assert title == "tiny (group d4), pixel grid, 1 image, float64"
    assert heads.split() == ["logits", "embedding", "stem", "blocks.0", "blocks.2"]
    assert len(rows) == 7 and rows[-1].startswith("mirror, turn 270")
    assert all(float(cell) < 1e-13 for cell in rows[-1].split()[3:])
    (found,) = json.loads(
        run(capsys, weights, "--images", image, "--output", "json")[1]
    )
    report = measure(lensequiv.from_pretrained(weights), image).to_dict()
    assert found["rows"] == json.loads(json.dumps(report["rows"]))


def test_the_plane_that_is_asked_for(capsys, weights, tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    images = [np.load(path) for path in sample_paths("modelF")[:2]]
    planes = [
        fits.ImageHDU(image, name="SCI", ver=i) for i, image in enumerate(images, 1)
    ]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / "a.fits")
    code, _, err = run(capsys, weights, "--images", tmp_path / "a.fits")
    assert code == 1 and "2 planes that could be the image" in err
    argv = ("--images", tmp_path / "a.fits", "--hdu", "SCI,2", "--output", "json")
    (found,) = json.loads(run(capsys, weights, *argv)[1])
    report = measure(lensequiv.from_pretrained(weights), images[1]).to_dict()
    assert found["rows"] == json.loads(json.dumps(report["rows"]))


@pytest.mark.slow
def test_all_angles_and_drawings(capsys, weights, tmp_path):
    drawings = {name: tmp_path / f"{name}.png" for name in ("plot", "projection")}
    options = [o for name, path in drawings.items() for o in (f"--{name}", path)]
    code, out, err = run(
        capsys,
        *(f"mine={weights}", "c4", "--lenses", 2, "--step", 90, "--noise"),
        *(*options, "--orbit", tmp_path / "orbit.gif", "--lens", 1),
    )
    assert code == 0
    for name, group in (("mine", "d4"), ("c4, untrained", "c4")):
        for kind in ("pixel grid", "re-rendered", "re-rendered with noise"):
            assert f"{name} (group {group}), {kind}, 2 images, float32\n" in out
    assert out.count("turn 360 ") == 4
    assert out.count("most for the logits: ") == 4
    assert out.count("spread of the embedding: ") == 4
    for path in drawings.values():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"drawn to {path}" in err
    with Image.open(tmp_path / "orbit.gif") as animation:
        assert animation.n_frames == 4


@pytest.mark.slow
def test_json_of_all_angles(capsys, weights):
    argv = (weights, "--recipe", "modelJ", "--lenses", 2, "--step", 90)
    grid, turned = json.loads(run(capsys, *argv, "--output", "json")[1])
    assert grid["kind"] == "pixel grid" and turned["kind"] == "re-rendered"
    assert set(turned["spread"]) == {"logits", "embedding"}
    angles = {row["element"]["angle"] for row in turned["rows"]}
    assert angles == {0, 90, 180, 270, 360}
    # One lens has no spread.
    _, turned = json.loads(
        run(capsys, *argv[:3], "--lenses", 1, *argv[5:], *("--output", "json"))[1]
    )
    assert turned["spread"] == {}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("c8-modelX",), "c8-modelX"),
        (("c8-modelF", "--step", "0"), "--step 0: expected more than 0"),
        (("c8-modelF", "c8-modelF"), "give them as LABEL=FOLDER"),
        (("c8-modelF", "--images", "x.npy", "--noise"), "leave out --images"),
        (("c8-modelF", "--images", "x.npy"), "x.npy does not exist"),
        (("c8-modelF", "--hdu", "1"), "--hdu: only with --images"),
        (("c8-modelF", "--plane", "1"), "--plane: only with --images"),
        (("c8-modelF", "--recipe", "modelX"), "'modelX'"),
    ],
)
def test_mistakes_are_one_line(capsys, argv, message):
    code, _, err = run(capsys, *argv)
    assert code == 1 and message in err and len(err.splitlines()) == 1
