import numpy as np
import pytest
import torch

from lensequiv.plots import plot_saliency
from lensequiv.saliency import Attribution, SubstructureSignal


@pytest.fixture
def attribution():
    return Attribution(
        maps=torch.randn(2, 129, 129),
        inputs=torch.rand(2, 1, 129, 129),
        baselines=torch.rand(2, 1, 129, 129),
        difference=torch.zeros(2),
        error=torch.zeros(2),
        target=torch.zeros(2, dtype=torch.int64),
        against=None,
        offset=(10, 10),
        image_size=(150, 150),
    )


@pytest.mark.slow
def test_two_rows_without_truth(attribution, tmp_path):
    figure = plot_saliency(attribution, pixel_scale=0.05, path=tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    panels = figure.axes[:4]
    assert len(figure.axes) == 5  # and a colour bar
    for panel in panels:
        (image,) = panel.images
        np.testing.assert_allclose(image.get_extent(), [-3.25, 3.2] * 2, atol=1e-9)
    low, high = panels[2].images[0].get_clim()
    assert low == -high
    assert panels[2].get_xlabel() == "arcsec"


def test_truth_is_drawn_where_it_is(attribution):
    snr = torch.zeros(2, 150, 150)
    snr[1, 100, 60] = 5.0
    signal = SubstructureSignal(image=snr, smooth=snr, snr=snr, ring=snr > 0)
    parameters = {
        "mass_x": np.array([[0.5, 1e3], [-1.0, 0.3]]),
        "mass_y": np.array([[0.1, 1e3], [1.0, -0.7]]),
        "mass": np.array([[1e10, 0.0], [5e9, 1e9]]),
    }
    figure = plot_saliency(
        attribution,
        pixel_scale=0.05,
        signal=signal,
        parameters=parameters,
        titles=["a", "b"],
    )
    panels = np.array(figure.axes[:6]).reshape(3, 2)
    assert [p.get_title() for p in panels[0]] == ["a", "b"]
    shown = panels[2, 1].images[0].get_array()
    assert np.argwhere(shown != 0).tolist() == [[90, 50]]
    (circles,) = panels[2, 0].collections
    np.testing.assert_allclose(circles.get_offsets(), [[0.5, 0.1]])
    (circles,) = panels[2, 1].collections
    sizes = circles.get_sizes()
    assert sizes[0] == pytest.approx(5 * sizes[1])


def test_wrong_number_is_refused(attribution):
    with pytest.raises(ValueError, match="titles is of 1 images; expected 2"):
        plot_saliency(attribution, pixel_scale=0.05, titles=["a"])
