import numpy as np
import pytest
import torch

from lensequiv.plots import plot_predictions
from lensequiv.prediction import Prediction


def prediction(n, paths=None):
    logits = torch.randn(n, 3)
    return Prediction(
        probabilities=logits.softmax(1),
        logits=logits,
        labels=["no"] * n,
        paths=paths,
        classes=("no", "sphere", "vort"),
        notes=[[]] * n,
    )


def images(n, shape=(150, 150)):
    return [np.random.default_rng(i).normal(size=shape) for i in range(n)]


def test_every_image_has_a_panel_and_its_probabilities():
    p = prediction(5)
    figure = plot_predictions(images(5), p, columns=3)
    assert len(figure.axes) == 10
    for i in range(5):
        picture, bars = figure.axes[2 * i : 2 * i + 2]
        assert picture.get_title() == f"image {i}"
        widths = [bar.get_width() for bar in bars.patches]
        np.testing.assert_allclose(widths, p.probabilities[i])
        assert [t.get_text() for t in bars.get_yticklabels()] == list(p.classes)


def test_titles_tell_files_apart():
    figure = plot_predictions(
        images(2), prediction(2, ["x/a/data.fits", "x/b/data.fits"])
    )
    assert [ax.get_title() for ax in figure.axes[::2]] == ["a/data", "b/data"]
    figure = plot_predictions(images(2), prediction(2, ["x/a.npy", "x/b.npy"]))
    assert [ax.get_title() for ax in figure.axes[::2]] == ["a", "b"]


@pytest.mark.parametrize("shape", [(97, 97), (1, 97, 97), (3, 97, 97)])
def test_shapes_and_units(shape):
    figure = plot_predictions(images(1, shape), prediction(1), pixel_scale=0.05)
    picture = figure.axes[0].images[0]
    assert picture.get_array().shape == (97, 97)
    np.testing.assert_allclose(picture.get_extent(), [-2.425, 2.425] * 2)
    assert figure.axes[0].get_xlabel() == "arcsec"


def test_file_is_written(tmp_path):
    plot_predictions(images(1), prediction(1), path=tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_number_is_refused():
    with pytest.raises(ValueError, match="2 images, but 1 predictions"):
        plot_predictions(images(2), prediction(1))
