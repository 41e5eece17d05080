from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.inference import Prediction
from lensequiv.plots import plot_predictions, plot_samples
from lensequiv.simulation import get_recipe, simulate


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
    assert len(figure.axes) == 11  # with a colour bar
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
    assert [ax.get_title() for ax in figure.axes[:4:2]] == ["a/data", "b/data"]
    figure = plot_predictions(images(2), prediction(2, ["x/a.npy", "x/b.npy"]))
    assert [ax.get_title() for ax in figure.axes[:4:2]] == ["a", "b"]


@pytest.mark.parametrize("shape", [(97, 97), (1, 97, 97), (3, 97, 97)])
def test_shapes_and_units(shape):
    figure = plot_predictions(images(1, shape), prediction(1), pixel_scale=0.05)
    picture = figure.axes[0].images[0]
    assert picture.get_array().shape == (97, 97)
    np.testing.assert_allclose(picture.get_extent(), [-2.425, 2.425] * 2)
    assert figure.axes[0].get_xlabel() == "arcsec"


def test_scale_and_colour_bar():
    """A third of 4.85 arcsec is 1.6: the longest of 1, 2 and 5 below it is 1."""
    figure = plot_predictions(images(1, (97, 97)), prediction(1), pixel_scale=0.05)
    (bar,) = figure.axes[0].lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(1)
    assert [t.get_text() for t in figure.axes[0].texts] == ["1\N{DOUBLE PRIME}"]
    colours = figure.axes[2]
    ticks = [float(t.get_text()) for t in colours.get_yticklabels()]
    np.testing.assert_allclose(colours.get_yticks() ** 2, ticks)
    assert not plot_predictions(images(1), prediction(1)).axes[0].lines


@pytest.mark.slow
def test_flags_stand_in_the_picture():
    p = replace(
        prediction(3),
        notes=[[], ["noise 3"], ["score 4.2"]],
        ood_score=torch.tensor([0.5, 0.9, 4.2]),
    )
    figure = plot_predictions(images(3), p)
    texts = [[t.get_text() for t in ax.texts] for ax in figure.axes[:6:2]]
    flag = "unlike training images"
    assert texts == [[], [flag], [f"{flag}\nscore 4.2"]]


def test_file_is_written(tmp_path):
    plot_predictions(images(1), prediction(1), path=tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_number_is_refused():
    with pytest.raises(ValueError, match="2 images, but 1 predictions"):
        plot_predictions(images(2), prediction(1))


@pytest.mark.slow
def test_samples_of_each_class(tmp_path):
    sets = [simulate("deeplensesim2", 6, seed=0), simulate("deeplensesim3", 6, seed=0)]
    figure = plot_samples(sets, path=tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:6] == [
        f"deeplensesim2: {name}" for name in ("no", "sphere", "vort") for _ in range(2)
    ]
    assert len(titles) == 12
    extents = [ax.images[0].get_extent()[1] for ax in figure.axes[::6]]
    np.testing.assert_allclose(extents, [32 * 0.101, 32 * 0.08])


def test_samples_at_their_own_scale():
    recipe = replace(get_recipe("wide"), pixels=24, psf_size=5, ring=(4.0, 8.0))
    lenses = simulate(recipe, 6, seed=0)
    figure = plot_samples([lenses])
    extents = [ax.images[0].get_extent()[1] for ax in figure.axes]
    np.testing.assert_allclose(extents, 12 * lenses.parameters["pixel_scale"])


def test_too_few_samples():
    with pytest.raises(ValueError, match="deeplensesim2 has 1 images of no"):
        plot_samples([simulate("deeplensesim2", 3, seed=0)])
    with pytest.raises(ValueError, match="simulations is empty"):
        plot_samples([])
