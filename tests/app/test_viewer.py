"""What the page is told, without a browser."""

import base64
import csv
import io
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.app import Viewer, create_app
from lensequiv.data import read_image, sample_paths
from lensequiv.spec import MapSpec

starlette = pytest.importorskip("starlette.testclient")
SAMPLE = sample_paths("modelF")[0]
HEADER = {"X-Lensequiv": "1"}


@pytest.fixture(scope="module")
def model():
    return lensequiv.from_pretrained("c8-modelF")


@pytest.fixture
def viewer(model):
    return Viewer(["c8-modelF"], lambda name: model)


@pytest.fixture
def client(viewer):
    return starlette.TestClient(create_app(viewer, max_bytes=200_000), headers=HEADER)


def test_an_image_is_what_predict_says(viewer, model):
    found = viewer.open(SAMPLE.name, SAMPLE.read_bytes())
    expected = model.predict(SAMPLE)
    np.testing.assert_allclose(
        found["probabilities"], expected.probabilities[0], atol=1e-5
    )
    assert found["label"] == expected.labels[0] and found["classes"] == [*model.classes]
    assert found["score"] == pytest.approx(float(expected.ood_score[0]), rel=1e-4)
    assert found["notes"] == [] and found["size"] == [150, 150]
    assert found["picture"]["width"] == found["input_size"] == 97


def test_quarter_turns_change_nothing_but_the_picture(viewer):
    found = viewer.open(SAMPLE.name, SAMPLE.read_bytes())
    turned = viewer.turn(found["token"], 90)
    np.testing.assert_allclose(
        turned["probabilities"], found["probabilities"], atol=1e-4
    )
    assert turned["change"] < 1e-4
    assert turned["picture"]["data"] != found["picture"]["data"]
    between = viewer.turn(found["token"], 30)
    assert 1e-4 < between["change"] < 0.5
    with pytest.raises(ValueError, match="degrees=nan"):
        viewer.turn(found["token"], float("nan"))


def test_numbers_hold_every_angle(viewer, model):
    token = viewer.open("my lens.npy", SAMPLE.read_bytes())["token"]
    for angle in (45, 390, 45, 360):
        viewer.turn(token, angle)
    name, text = viewer.numbers(token, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert name == "my lens.csv" and [r["angle"] for r in rows] == ["0", "30", "45"]
    expected = model.predict(SAMPLE)
    assert float(rows[0]["ood_score"]) > 0 and not rows[1]["ood_score"]
    assert rows[0]["path"] == "my lens.npy" and rows[0]["label"] == expected.labels[0]
    for i, c in enumerate(model.classes):
        assert float(rows[0][c]) == pytest.approx(
            float(expected.probabilities[0, i]), abs=1e-5
        )
    content = json.loads(viewer.numbers(token, "json")[1])
    assert content["sha256"] == model.origin.sha256
    assert len(content["rows"]) == 3 and len(content["rows"][1]["embedding"]) > 10


def test_small_images_are_taken_with_a_note(viewer):
    image = read_image(SAMPLE)[0, 32:97, 32:97]
    buffer = io.BytesIO()
    np.save(buffer, image)
    found = viewer.open("small.npy", buffer.getvalue())
    assert found["input_size"] == found["picture"]["width"] == 65
    assert "an image of 65 pixels" in found["notes"][0]
    assert viewer.turn(found["token"], 10)["picture"]["width"] == 65


@pytest.mark.slow
def test_saliency(viewer, model):
    pytest.importorskip("captum")
    found = viewer.open(SAMPLE.name, SAMPLE.read_bytes())
    explained = viewer.saliency(found["token"])
    assert explained["label"] == found["label"] and explained["limit"] > 0
    assert explained["picture"]["width"] == 97


@pytest.mark.slow
def test_few_images_are_kept(viewer):
    first = viewer.open(SAMPLE.name, SAMPLE.read_bytes())["token"]
    for _ in range(8):
        viewer.open(SAMPLE.name, SAMPLE.read_bytes())
    with pytest.raises(KeyError):
        viewer.turn(first, 1)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("/tmp/lensequiv-app-was-executed"),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lens.exe", b"MZ", "none of the files that can be shown"),
        ("lens.h5", b"\x89HDF", "none of the files that can be shown"),
        ("../../etc/passwd", b"root", "passwd is none of the files"),
        ("lens.fits", b"SIMPLE", "lens.fits "),
        ("lens.png", b"\x89PNG\r\n", "lens.png cannot be decoded"),
        ("lens.npy", pickle.dumps(Bomb()), "lens.npy "),
        ("flat.npy", None, "flat.npy "),
    ],
)
def test_bad_files_are_refused_by_name(client, name, content, message):
    if content is None:
        buffer = io.BytesIO()
        np.save(buffer, np.ones((129, 129), np.float32))
        content = buffer.getvalue()
    answer = client.post("/api/image", params={"name": name}, content=content)
    assert answer.status_code == 422 and message in answer.json()["error"]
    assert "/tmp" not in answer.text and "lensequiv-app-" not in answer.text
    assert not Path("/tmp/lensequiv-app-was-executed").exists()


def test_a_pickled_array_is_not_executed(client):
    buffer = io.BytesIO()
    pair = np.empty(2, dtype=object)
    pair[:] = [Bomb(), 1.0]
    np.save(buffer, pair, allow_pickle=True)
    answer = client.post(
        "/api/image", params={"name": "a.npy"}, content=buffer.getvalue()
    )
    assert answer.status_code == 422
    assert not Path("/tmp/lensequiv-app-was-executed").exists()


def test_large_files_are_refused(client):
    for size in (200_001, 2_000_000):
        answer = client.post("/api/image?name=a.npy", content=bytes(size))
        assert answer.status_code == 413
        assert "larger than 0.190735 MiB" in answer.json()["error"]

    def parts():
        for _ in range(10):
            yield bytes(50_000)

    assert client.post("/api/image?name=a.npy", content=parts()).status_code == 413


def test_only_the_page_may_ask(client, viewer):
    stranger = starlette.TestClient(create_app(viewer))
    sent = {"params": {"name": "a.npy"}, "content": SAMPLE.read_bytes()}
    assert stranger.post("/api/image", **sent).status_code == 403
    posing = client.get("/", headers={"Host": "evil.example"})
    assert posing.status_code == 400
    for path in ("/../pyproject.toml", "/page/app.js", "/api/image/x/numbers.csv"):
        assert client.get(path).status_code in (404, 410)
    assert client.post("/api/image/nothing/turn?degrees=3").status_code == 410


def test_the_page_asks_for_nothing_from_elsewhere(client):
    for path in ("/", "/style.css", "/app.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not re.findall(r"https?://|@import|url\(", answer.text)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_through_the_server(client, model):
    sent = {"params": {"name": "a.npy"}, "content": SAMPLE.read_bytes()}
    found = client.post("/api/image", **sent).json()
    turned = client.post(f"/api/image/{found['token']}/turn?degrees=180").json()
    assert turned["label"] == found["label"] == model.predict(SAMPLE).labels[0]
    saved = client.get(f"/api/image/{found['token']}/numbers.csv")
    assert 'filename="a.csv"' in saved.headers["Content-Disposition"]
    assert saved.text.splitlines()[2].startswith("180,a.npy,")
    for wrong in ("0", "-1", "x", "nan"):
        sent["params"] = {"name": "a.npy", "pixel_scale": wrong}
        answer = client.post("/api/image", **sent)
        assert answer.status_code == 422 and "pixel scale" in answer.json()["error"]


def test_scales(viewer):
    content = SAMPLE.read_bytes()
    found = viewer.open("a.npy", content, pixel_scale=0.06)
    assert any("0.06" in note for note in found["notes"])
    with pytest.raises(ValueError, match="needs a pixel scale"):
        viewer.open("a.npy", content, resampled=True)
    found = viewer.open("a.npy", content, pixel_scale=0.04, resampled=True)
    assert found["pixel_scale"] == 0.05 and found["size"] == [120, 120]


def test_weights_by_name_alone(tmp_path, model):
    folder = model.save_pretrained(tmp_path / "mine")
    viewer = Viewer([str(folder)], lensequiv.from_pretrained)
    assert viewer.weights == ["mine"]
    with pytest.raises(ValueError, match="unknown weights 'other'; there are mine"):
        viewer.open("a.npy", SAMPLE.read_bytes(), weights="other")
    with pytest.raises(ValueError, match="expected at least one"):
        Viewer([], lensequiv.from_pretrained)


def test_embedding_is_the_model_s(viewer, model):
    found = viewer.open(SAMPLE.name, SAMPLE.read_bytes())
    x = model.preprocess(torch.from_numpy(read_image(SAMPLE))[None])
    with torch.no_grad():
        expected = model.embed(x)[0]
    torch.testing.assert_close(torch.tensor(found["embedding"]), expected)


def test_the_map_of_weights_that_draw_one():
    torch.manual_seed(0)
    options = {"stem_fields": 2, "stages": ((2,), (2, 2), (3,)), "stem_stride": 2}
    model = lensequiv.create_model("c4", **options, map_fields=3).set_input_size(97)
    model.pixel_scale = 0.05
    with torch.no_grad():  # an untrained map is flat
        model.map_head.draw[-1].weight.mul_(40)
    model.map_spec = MapSpec(4, 0.2, 0.25, 0.0405, 1e9, {"0.01": 0.8})
    viewer = Viewer(["mapping"], lambda name: model)
    found = viewer.open("a.npy", SAMPLE.read_bytes(), pixel_scale=0.05)
    drawn, turned = (one["map"] for one in (found, viewer.turn(found["token"], 90)))
    assert drawn["cell"] == pytest.approx(0.2) and drawn["radius"] == 0.25
    assert drawn["step"] == 4  # pixels
    maps = [
        np.frombuffer(base64.b64decode(one["picture"]["data"]), np.uint8)
        .reshape(one["picture"]["height"], one["picture"]["width"])
        .astype(int)
        for one in (drawn, turned)
    ]
    expected = model.predict_map(SAMPLE)[0].presence.numpy()
    np.testing.assert_allclose(maps[0], 255 * expected, atol=0.6)
    # Anticlockwise, where row 0 is at the bottom.
    np.testing.assert_allclose(np.rot90(maps[0], -1), maps[1], atol=1)
    assert np.ptp(maps[0]) > 4
