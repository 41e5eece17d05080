"""Pictures of maps."""

import numpy as np
import pytest
import torch

from lensequiv.inference import SubstructureMap
from lensequiv.plots import plot_maps
from lensequiv.spec import MapSpec

pytest.importorskip("matplotlib")
SPEC = MapSpec(4, 0.2, 0.25, 0.0405, 1e9, {"0.01": 0.8})


def made(seed):
    torch.manual_seed(seed)
    layers = torch.rand(4, 25, 25) * torch.tensor([0.1, 0.0, 0.1, 0.5])[:, None, None]
    layers[2] += 0.1
    layers[3, 5, 20] = 0.9
    return SubstructureMap(*layers, SPEC, left=26.0, top=26.0, step=4.0, cell=0.2)


@pytest.mark.slow
def test_panels_axes_and_marks(tmp_path):
    maps = [made(0), made(1)]
    images = [np.random.default_rng(0).random((1, 97, 97), np.float32)] * 2
    truth = [np.zeros((25, 25)), np.full((25, 25), 0.3)]
    subhalos = [np.array([[0.5, 0.2, 1e10], [0.0, 0.0, 0.0]]), np.zeros((0, 3))]
    figure = plot_maps(
        maps, images, truth=truth, subhalos=subhalos, path=tmp_path / "maps.png"
    )
    assert (tmp_path / "maps.png").stat().st_size > 1000
    panels = figure.axes[:10]
    titles = [panel.get_title() for panel in panels[:5]]
    assert titles[1] == "convergence:\ntruth" and titles[-1] == "presence"
    # The image is where its cells are: 97 pixels of 0.05 arcsec.
    assert panels[0].images[0].get_extent() == pytest.approx([-2.425, 2.425] * 2)
    assert panels[4].images[0].get_extent() == pytest.approx([-2.5, 2.5] * 2)
    (marks,) = panels[4].lines
    assert marks.get_xdata()[0] == pytest.approx(8 * 0.2, abs=0.15)
    assert len(panels[4].collections[0].get_offsets()) == 1
    assert len(plot_maps(maps[:1], images[:1]).axes) == 4 + 2


def test_numbers_of_lenses_have_to_agree():
    image = np.zeros((97, 97), np.float32)
    with pytest.raises(ValueError, match="images is of 2 lenses; expected 1"):
        plot_maps([made(0)], [image] * 2)
    with pytest.raises(ValueError, match="maps is empty"):
        plot_maps([], [])
