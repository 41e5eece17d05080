"""The auxiliary target against sums written out, and the head against turns."""

import math

import mass_map
import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.simulation import model_f, simulate
from lensequiv.transforms import RandomPose


@pytest.fixture
def mapping():
    """Draws on maps as fine as the image, so that positions can be compared."""
    mapping = mass_map.MappingModel(lensequiv.create_model("c4").set_input_size(97))
    mapping.stride = 1
    return mapping


def test_target_is_the_convergence_of_smeared_masses(mapping):
    mapping.stride = 8
    masses = torch.tensor([[[0.3, -0.2, 0.01], [0.0, 0.5, 0.002]]])
    still = (torch.zeros(1), torch.ones(1), torch.zeros(2, 1, 1))
    found = mapping.target(mass_map.posed_masses(masses, still, 151, 0.05))[0]
    assert found.shape == (13, 13)
    for row, column in ((6, 6), (5, 7), (0, 12)):
        x, y = (column - 6) * 8 * 0.05, (row - 6) * 8 * 0.05
        kappa = 0.0
        for mx, my, theta2 in masses[0].tolist():
            squared = (x - mx) ** 2 + (y - my) ** 2
            # Convergence integrates to pi theta^2 over the sky.
            blob = math.exp(-squared / 0.08) / (2 * math.pi * 0.04)
            kappa += math.pi * theta2 * blob
        assert found[row, column] == pytest.approx(math.log1p(kappa / 0.005), rel=1e-5)


def test_target_moves_with_the_image(mapping):
    """A star rendered at the mass's place stays on the map's peak in any pose."""
    x0, y0 = 0.55, -0.35  # arcsec
    steps = (torch.arange(150) - 74.5) * 0.05
    star = torch.exp(
        -((steps[None, :] - x0) ** 2 + (steps[:, None] - y0) ** 2) / (2 * 0.2**2)
    )
    masses = torch.tensor([[[x0, y0, 0.01]]])
    torch.manual_seed(3)
    pose = RandomPose(97, rotate=1.0)
    for _ in range(8):
        drawn = pose.draw(1)
        moved = pose.apply_drawn(star[None, None], *drawn)[0, 0]
        map_ = mapping.target(mass_map.posed_masses(masses, drawn, 150, 0.05))[0]
        linear = torch.expm1(map_)
        torch.testing.assert_close(
            linear / linear.max(), moved / moved.max(), atol=0.02, rtol=0
        )


@pytest.mark.parametrize("name", ["c8", "d4", "resnet18"])
def test_head_draws_a_map_of_stride_8(name):
    mapping = mass_map.MappingModel(lensequiv.create_model(name))
    x = torch.rand(2, 1, mapping.model.input_size, mapping.model.input_size)
    logits, drawn = mapping(x)
    side = (mapping.model.input_size - 1) // 8 + 1
    assert logits.shape == (2, 3) and drawn.shape == (2, side, side)
    assert mapping.stride == 8
    drawn.sum().backward()
    body = mapping.model.get_submodule(mapping.layer)
    assert all(p.grad is not None for p in body.parameters())


def test_map_of_an_equivariant_network_turns_with_the_image():
    torch.manual_seed(0)
    mapping = mass_map.MappingModel(lensequiv.create_model("c8")).eval()
    x = torch.rand(1, 1, 97, 97)
    with torch.no_grad():
        (_, drawn), (_, turned) = mapping(x), mapping(x.rot90(1, (2, 3)))
    torch.testing.assert_close(turned, drawn.rot90(1, (1, 2)), rtol=1e-4, atol=1e-5)


def test_loss_counts_where_there_is_light():
    x = torch.zeros(1, 1, 97, 97)
    x[..., 40:57, 40:57] = 1.0
    drawn, wanted = torch.zeros(1, 13, 13), torch.zeros(1, 13, 13)
    wanted[0, 0, 0] = 5.0
    assert mass_map.map_loss(drawn, wanted, x, 8) == 0
    wanted[0, 6, 6] = 1.0
    assert 0.05 < mass_map.map_loss(drawn, wanted, x, 8) <= 1


def test_masses_of_a_vortex_lie_on_its_map(mapping):
    lenses = simulate(model_f, 3, seed=0)
    p = lenses.parameters
    columns = [p[f"mass_{name}"][2:] for name in ("x", "y", "theta2")]
    masses = torch.from_numpy(np.stack(columns, -1)).float()
    still = (torch.zeros(1), torch.ones(1), torch.zeros(2, 1, 1))
    found = mapping.target(mass_map.posed_masses(masses, still, 150, 0.05))[0]
    row, column = divmod(int(found.argmax()), 97)
    # The frame's centre is half a pixel beyond the central pixel.
    x, y = (column - 48 - 0.5) * 0.05, (row - 48 - 0.5) * 0.05
    distance = (masses[0, :, 0] - x) ** 2 + (masses[0, :, 1] - y) ** 2
    assert distance.min().sqrt() < 0.05


def test_masses_lie_where_turned_copies_show_them():
    """A network that looks at turned copies is asked for the maps of the copies."""
    x0, y0 = 9.0, -14.0  # pixels
    steps = torch.arange(97) - 48.0
    star = torch.exp(
        -((steps[None, :] - x0) ** 2 + (steps[:, None] - y0) ** 2) / (2 * 4.0**2)
    )[None, None]
    model = lensequiv.create_model("c4", turns=3, disc=True)
    mapping = mass_map.MappingModel(model.set_input_size(97))
    mapping.stride = 1
    masses, seen = mapping.copies(torch.tensor([[[x0, y0, 0.1]]]), star)
    assert seen.shape == (3, 1, 97, 97)
    drawn = torch.expm1(mapping.target(masses))
    for map_, copy in zip(drawn, seen[:, 0], strict=True):
        torch.testing.assert_close(map_ / map_.max(), copy, atol=0.02, rtol=0)
    still = torch.tensor([[[x0, y0, 0.1]]])
    mapping.model.turns = 1
    assert mapping.copies(still, star)[0] is still
