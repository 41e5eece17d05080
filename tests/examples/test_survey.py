"""The survey, on a cluster of two nodes with one core each, is whole and predict's."""

import importlib.util
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import lensequiv
from lensequiv.data import ImageError, sample_paths

SCRIPT = Path(__file__).parents[2] / "examples" / "survey.py"
PIXELS = [np.load(path) for path in sample_paths("modelF")]


@pytest.fixture(scope="module")
def environment():
    """What Ray looks at when it is imported, which therefore happens in fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else kept in $HOME
        pytest.importorskip("ray")  # the oldest versions are tried without
        yield


@pytest.fixture(scope="module")
def survey(environment):
    spec = importlib.util.spec_from_file_location("survey_example", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cluster(environment):
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100_000_000}
    started = Cluster(True, head_node_args={**node, "include_dashboard": False})
    started.add_node(**node)
    ray.init(address=started.address, log_to_driver=False)
    assert len(ray.nodes()) == 2
    yield started.address
    ray.shutdown()
    started.shutdown()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = lensequiv.create_model(
        "c4", stem_fields=2, stem_kernel=5, stages=((2,), (2,))
    )
    return model.save_pretrained(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def model(weights):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the actors, for equal bits
    yield lensequiv.from_pretrained(weights)
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path):
    """Twenty images, all different; the sixth is damaged."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(20):
        image = np.rot90(PIXELS[i % 6], i // 6) * (1 + i)
        np.save(folder / f"{i}.npy", image.astype(np.float32))
    (folder / "5.npy").write_bytes(b"no image")
    return folder


def rows_of(out):
    return pq.read_table(out).to_pylist()


def assert_equal(model, rows, prediction):
    assert [row["label"] for row in rows] == prediction.labels
    found = [[row[name] for name in model.classes] for row in rows]
    assert np.array_equal(np.float32(found), prediction.probabilities)
    assert [row["notes"] for row in rows] == ["; ".join(n) for n in prediction.notes]
    assert [row["error"] for row in rows] == [None] * len(rows)


@pytest.mark.slow
def test_workers_are_killed_and_an_image_is_bad(
    survey, cluster, model, folder, tmp_path, monkeypatch
):
    base = survey.Classifier

    class Dying(base):
        def __call__(self, rows):
            part = json.loads(rows["chunk"][0])["part"]
            mark = self.out.parent / f"died of {part}"
            dies = part[5:12] in ("0000001", "0000003") and not mark.exists()
            if dies:
                mark.touch()
            if dies and part[5:12] == "0000001":  # before anything is done
                os.kill(os.getpid(), signal.SIGKILL)
            result = super().__call__(rows)
            if dies:  # when the part is written, but Ray has not been told
                os.kill(os.getpid(), signal.SIGKILL)
            return result

    with pytest.raises(
        ValueError, match="gpus=1 for each actor, but the cluster has 0"
    ):
        survey.survey(model, [folder], tmp_path / "out", device="cuda")
    monkeypatch.setattr(survey, "Classifier", Dying)
    out = survey.survey(
        model, [folder], tmp_path / "out", device="auto", batch_size=2, chunk=4
    )
    assert len(list(tmp_path.glob("died of *"))) == 2
    rows = rows_of(out)
    once = lensequiv.predict_to_file(
        model, folder, tmp_path / "once.parquet", 2, on_error="skip", progress=False
    )
    assert rows == rows_of(once)
    assert "5.npy is not an NPY file" in rows.pop(5)["error"]
    assert_equal(model, rows[:4], model.predict([r["path"] for r in rows[:4]], 2))
    parts = [f"part-{i:07d}.parquet" for i in range(5)]
    assert sorted(p.name for p in out.iterdir()) == [
        "_manifest.json",
        "_request.json",
        *parts,
    ]
    manifest = json.loads((out / "_manifest.json").read_text())
    assert manifest == {"images": 20, "errors": 1, "parts": parts}


@pytest.mark.slow
def test_an_image_that_kills_every_worker_ends_the_run(
    survey, cluster, model, folder, tmp_path, monkeypatch
):
    base = survey.Classifier

    class Dying(base):
        def source(self, chunk):
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(survey, "Classifier", Dying)
    monkeypatch.setattr(survey, "ATTEMPTS", 1)
    with pytest.raises(Exception, match=r"1 workers died of the same chunk.*0\.npy"):
        survey.survey(model, [folder / "0.npy"], tmp_path / "out")


def npy(image):
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()


@pytest.mark.slow
def test_parquet(survey, cluster, model, tmp_path):
    stack = np.stack(PIXELS).astype(np.float32)
    (tmp_path / "in").mkdir()
    tensors = {"image": pa.FixedShapeTensorArray.from_numpy_ndarray(stack)}
    pq.write_table(
        pa.table({**tensors, "id": np.arange(100, 106)}),
        tmp_path / "in" / "a.parquet",
        row_group_size=3,
    )
    stored = [npy(image) for image in PIXELS[::-1]]
    stored[3], stored[4] = None, stored[4][:-1]
    names = list("uvwxyz")
    pq.write_table(pa.table({"image": stored, "id": names}), tmp_path / "in/b.parquet")
    out = survey.survey(
        model, [tmp_path / "in"], tmp_path / "out", batch_size=2, chunk=4, actors=1
    )
    rows = rows_of(out)
    assert [row["path"] for row in rows] == [*map(str, range(100, 106)), *names]
    assert_equal(model, rows[:6], model.predict(stack, 2))
    assert_equal(model, rows[6:8], model.predict(stack[:3:-1].copy(), 2))
    assert "b.parquet[x] holds no image (null)" in rows[9]["error"]
    assert "b.parquet[y] holds" in rows[10]["error"]
    assert "fewer than its header claims" in rows[10]["error"]
    assert [row["error"] is None for row in rows] == [True] * 9 + [False] * 2 + [True]


@pytest.mark.slow
def test_killed_driver(survey, cluster, weights, model, folder, tmp_path):
    out, image = tmp_path / "out", (folder / "6.npy").read_bytes()
    (folder / "6.npy").unlink()
    os.mkfifo(folder / "6.npy")  # whoever opens it waits, so the run cannot end
    command = [sys.executable, SCRIPT, folder, "--weights", weights, "--out", out]
    command += ["--batch-size", "2", "--chunk", "4", "--address", cluster]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(1200):
            parts = {p.name: p.stat().st_mtime_ns for p in out.glob("part-*")}
            if parts or driver.poll() is not None:
                break
            time.sleep(0.1)
    finally:
        driver.kill()
    assert driver.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert parts and "part-0000001.parquet" not in parts
    assert not (out / "_manifest.json").exists()
    (folder / "6.npy").unlink()
    (folder / "6.npy").write_bytes(image)

    # What is not the same request is refused.
    torch.manual_seed(1)
    other = lensequiv.create_model(model.name, **model.config)
    for arguments, options, what in (
        ((other, [folder]), {"batch_size": 2, "chunk": 4}, "weights"),
        ((model, [folder / "1.npy"]), {"batch_size": 2, "chunk": 4}, "images"),
        ((model, [folder]), {"batch_size": 4, "chunk": 4}, "batch_size"),
        ((model, [folder]), {"batch_size": 2, "chunk": 6}, "chunk"),
        ((model, [folder]), {"batch_size": 2, "chunk": 4, "hdu": 1}, "hdu"),
    ):
        with pytest.raises(FileExistsError, match=f"a call with other .*{what}"):
            survey.survey(*arguments, out, **options)

    survey.survey(model, [folder], out, batch_size=2, chunk=4, actors=1)
    for name, written in parts.items():
        assert (out / name).stat().st_mtime_ns == written
    rows = rows_of(out)
    assert rows.pop(5)["error"]
    assert [Path(row["path"]).stem for row in rows] == [
        str(i) for i in range(20) if i != 5
    ]
    # A batch that lacks the damaged image has another size than predict's.
    expected = model.predict([row["path"] for row in rows], 2)
    assert [row["label"] for row in rows] == expected.labels
    found = [[row[name] for name in model.classes] for row in rows]
    np.testing.assert_allclose(found, expected.probabilities, rtol=0, atol=1e-6)


def test_refusals(survey, model, folder, tmp_path):
    with pytest.raises(
        ValueError, match="chunk=5: expected a multiple of batch_size=2"
    ):
        survey.survey(model, [folder], tmp_path / "out", batch_size=2, chunk=5)
    with pytest.raises(FileExistsError, match="tmp is not empty"):
        (tmp_path / "tmp" / "a").mkdir(parents=True)
        survey.survey(model, [folder], tmp_path / "tmp")
    with pytest.raises(ValueError, match="out is within the input"):
        survey.survey(model, [folder], folder / "out")
    for options, found in (
        ({"gpus": 0.5}, "gpus=0.5 do not go with device='cpu'"),
        ({"device": "cuda", "gpus": 0}, "gpus=0 do not go with device='cuda'"),
        ({"device": "cuda:1"}, "device='cuda:1': expected .* Ray chooses the number"),
        ({"device": "cuda", "gpus": -1}, "gpus=-1: expected a number from 0"),
    ):
        with pytest.raises(ValueError, match=found):
            survey.survey(model, [folder], tmp_path / "out", **options)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        survey.survey(model, [tmp_path / "nowhere"], tmp_path / "out")
    empty = pa.table({"image": pa.array([], pa.binary()), "id": pa.array([], "int64")})
    pq.write_table(empty, tmp_path / "empty.parquet")
    for inputs, found in (
        ([folder, tmp_path / "empty.parquet"], "give one or the other"),
        ([folder / "0.npy", tmp_path / "empty.parquet"], "give one or the other"),
        ([tmp_path / "empty.parquet"], "holds no images"),
    ):
        with pytest.raises(ValueError, match=found):
            survey.survey(model, inputs, tmp_path / "out")
    with pytest.raises(ImageError, match=r"x\.parquet cannot be read as Parquet"):
        (tmp_path / "x.parquet").write_bytes(b"no")
        survey.survey(model, [tmp_path / "x.parquet"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
