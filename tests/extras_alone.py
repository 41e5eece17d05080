"""Uses what an extra is for, where nothing but that extra is installed.

    python tests/extras_alone.py fits

Run by `nox -s extras` with the wheel installed; `none` is the bare package. It fails if
the extra does not bring what it promises.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import lensequiv
from lensequiv.data import read_image, sample_paths


def none(folder):
    result = lensequiv.from_pretrained("c8-modelJ").predict(sample_paths("modelJ"))
    assert result.labels == ["no", "no", "sphere", "sphere", "vort", "vort"]


def fits(folder):
    from astropy.io import fits as astropy_fits

    astropy_fits.writeto(folder / "a.fits", np.load(sample_paths("modelJ")[0]))
    assert read_image(folder / "a.fits").shape == (1, 150, 150)


def hdf5(folder):
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file["image"] = np.load(sample_paths("modelJ")[0])
    assert read_image(folder / "a.h5").shape == (1, 150, 150)


def pandas(folder):
    result = lensequiv.from_pretrained("c8-modelJ").predict(sample_paths("modelJ"))
    assert list(result.to_pandas()["label"]) == result.labels


def parquet(folder):
    model = lensequiv.from_pretrained("c8-modelJ")
    out = lensequiv.predict_to_file(model, sample_paths("modelJ"), folder / "a.parquet")
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(out).num_rows == 6


def plots(folder):
    from lensequiv.plots import plot_predictions

    result = lensequiv.from_pretrained("c8-modelJ").predict(sample_paths("modelJ"))
    images = [read_image(path) for path in sample_paths("modelJ")]
    plot_predictions(images, result, path=folder / "a.png")
    assert (folder / "a.png").stat().st_size > 10_000


def saliency(folder):
    import torch

    from lensequiv.saliency import integrated_gradients

    model = lensequiv.from_pretrained("c8-modelJ")
    image = torch.from_numpy(read_image(sample_paths("modelJ")[2]))[None]
    found = integrated_gradients(model, image, target="sphere", steps=2)
    assert found.maps.shape == (1, 97, 97)


def app(folder):
    import starlette.applications  # noqa: F401
    import uvicorn  # noqa: F401

    fits(folder)
    saliency(folder)


def sim(folder):
    from lensequiv.simulation import simulate

    assert simulate("modelJ", 3, seed=1).images.shape == (3, 150, 150)


def train(folder):
    import accelerate  # noqa: F401
    import torchmetrics  # noqa: F401

    sim(folder)
    hdf5(folder)


def onnx(folder):
    import onnxruntime
    import torch

    plain = lensequiv.from_pretrained("c8-modelJ").to_torch()
    x = torch.rand(1, 1, 97, 97)
    torch.onnx.export(plain, (x,), folder / "a.onnx", dynamo=True)
    session = onnxruntime.InferenceSession(folder / "a.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        expected = plain(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def ray(folder):
    import ray.data  # noqa: F401

    parquet(folder)


def main():
    with tempfile.TemporaryDirectory() as folder:
        globals()[sys.argv[1]](Path(folder))
    print(f"{sys.argv[1]}: works, with lensequiv from {lensequiv.__file__}")


if __name__ == "__main__":
    main()
