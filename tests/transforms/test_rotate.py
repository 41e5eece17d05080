"""`rotate`: on the grid exactly, off it like a lens rendered at that angle."""

from dataclasses import replace

import pytest
import torch

from lensequiv.simulation import model_f, simulate
from lensequiv.transforms import rotate

ODD = replace(model_f, name="odd", pixels=151)  # centred on a pixel


@pytest.mark.parametrize("turns", range(4))
def test_on_the_grid_pixels_move(turns):
    images = torch.rand(3, 2, 33, 33)
    # rot90 turns anticlockwise with row 0 at the top: the other way round.
    expected = torch.rot90(images, -turns, (2, 3))
    torch.testing.assert_close(
        rotate(images, 90.0 * turns, 33), expected, rtol=1e-4, atol=1e-4
    )


def test_off_the_grid_like_a_rendered_lens():
    angles = torch.tensor([10.0, 45.0, 200.0])
    upright = simulate(ODD, 3, seed=0, noise=False).images[:, None]
    for i, angle in enumerate(angles.tolist()):
        turned = simulate(ODD, 3, seed=0, noise=False, rotation=angle)
        truth = turned.images[i, 11:-11, 11:-11]
        found = rotate(upright, angles)[i, 0]
        assert found.shape == (129, 129)
        inner = slice(20, -20)
        error = (found - truth)[inner, inner].abs().max() / truth.max()
        wrong = (upright[i, 0, 11:-11, 11:-11] - truth)[inner, inner].abs().max()
        assert error < 0.02  # 0.015 measured: the sharpest edges are blurred
        assert wrong / truth.max() > 0.1


def test_bad_arguments():
    with pytest.raises(ValueError, match="size=128"):
        rotate(torch.rand(1, 1, 150, 150), 10.0, 128)
