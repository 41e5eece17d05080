"""Rays, their deflection and what is made of them, against closed forms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import constants
from scipy.integrate import quad

from lensequiv.plain import gaussian_kernel
from lensequiv.simulation import (
    _cosmology,
    _deflection,
    _physics,
    get_recipe,
    model_f,
    model_j,
)


def einstein_radius(mass, z_lens, z_source):
    """Without astropy: luminosity distances by quadrature, constants from scipy."""

    def distance(z):
        inverse = quad(lambda t: 1 / math.sqrt(0.3 * (1 + t) ** 3 + 0.7), 0, z)[0]
        return (1 + z) * constants.c / 70e3 * inverse * 1e6 * constants.parsec

    gm = mass * 1.32712440018e20
    d_l, d_s = distance(z_lens), distance(z_source)
    theta2 = 4 * gm / constants.c**2 * (d_s - d_l) / (d_l * d_s)
    return math.sqrt(theta2) / constants.arcsec


def test_einstein_radius_of_the_recipe():
    z_lens, z_source = np.array([0.5]), np.array([1.0])
    theta2 = 1e12 * _cosmology.mass_to_arcsec2(z_lens, z_source, model_f)
    assert abs(math.sqrt(theta2[0]) - 1.2815) <= 0.5e-4  # all digits of the number
    assert abs(einstein_radius(1e12, 0.5, 1.0) - 1.2815) <= 0.5e-4


def test_einstein_radii_at_other_masses_and_redshifts():
    z_lens, z_source = np.array([0.4, 0.5, 0.6]), np.array([1.2, 0.9, 0.8])
    mass = np.array([[1e12, 1e6], [3e11, 0.0], [5e10, 1e10]])
    theta2 = mass * _cosmology.mass_to_arcsec2(z_lens, z_source, model_j)[:, None]
    for row in range(3):
        for column in range(2):
            theta = einstein_radius(mass[row, column], z_lens[row], z_source[row])
            # 1e-6: the accuracy of the constants
            assert theta2[row, column] == pytest.approx(theta**2, rel=1e-6)


@pytest.mark.parametrize("recipe", ["modelF", "modelJ"])
def test_ray_grid_is_centred(recipe):
    recipe = get_recipe(recipe)
    count = recipe.pixels * recipe.supersampling
    expected = (np.arange(count) + 0.5 - count / 2) * 0.05 / recipe.supersampling
    axis = _physics.ray_grid(recipe).numpy()
    np.testing.assert_allclose(axis, expected, rtol=0, atol=1e-12)
    assert axis[0] == pytest.approx(-3.7375)  # half of 7.5 arcsec less half a step


@pytest.mark.parametrize(("axis_ratio", "straight"), [(1.0, False), (0.8, True)])
def test_rays_through_a_centre_stay_finite(axis_ratio, straight):
    axis = torch.tensor([0.0, 0.5], dtype=torch.float64)
    names = ("theta_e", "halo_angle", "shear", "shear_angle")
    lens = {name: torch.tensor([0.1], dtype=torch.float64) for name in names}
    place = torch.tensor([[0.0, 0.2] if straight else [0.0]], dtype=torch.float64)
    lens |= {"mass_x": place, "mass_y": 0 * place, "mass_theta2": 0 * place + 0.02}
    beta = _deflection.deflect(axis, lens, axis_ratio=axis_ratio, straight=straight)
    assert torch.isfinite(torch.stack(beta)).all()
    if not straight:
        assert [float(b[0, 0, 0]) for b in beta] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("points", [2, 3, 100])
@pytest.mark.parametrize("length", [0.06, 2.0])
def test_line_is_the_sum_of_its_points(points, length):
    """The closed form and the sum near the line, against the plain sum."""
    rng = np.random.default_rng(points)
    along = np.linspace(-0.5, 0.5, points) * length
    angle = rng.uniform(0, 2 * np.pi, 5)
    centre = rng.normal(0, 0.5, (2, 5))
    masses = [centre[0] + along[:, None] * np.cos(angle)]
    masses.append(centre[1] + along[:, None] * np.sin(angle))
    masses.append(np.full((points, 5), 0.08 / points))
    masses = [torch.from_numpy(m.T) for m in masses]
    x = torch.linspace(-3.7, 3.7, 301, dtype=torch.float64)
    line = _deflection.line_deflection(x, *masses, dtype=torch.float64)
    sums = _deflection.point_deflection(x, *masses, dtype=torch.float64)
    difference = torch.hypot(line[0] - sums[0], line[1] - sums[1])
    assert (difference / torch.hypot(*sums)).max() < 1e-5  # 2e-6 to 7e-6 measured
    assert torch.hypot(*sums).max() > 0.05


def test_near_rays_are_summed_in_parts(monkeypatch):
    x = torch.linspace(-1, 1, 200, dtype=torch.float64)
    place = torch.linspace(-0.5, 0.5, 50, dtype=torch.float64)[None]
    masses = (place, 0.3 * place, 0 * place + 1e-3)
    whole = _deflection.line_deflection(x, *masses)
    monkeypatch.setattr(_deflection, "_NEAR_ELEMENTS", 1000)
    parts = _deflection.line_deflection(x, *masses)
    assert torch.equal(torch.stack(whole), torch.stack(parts))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sum_blocks_is_average_pooling(size):
    light = torch.rand(2, 12, 12)
    expected = F.avg_pool2d(light, size) * size**2
    torch.testing.assert_close(_physics.sum_blocks(light, size), expected)


def test_blur_is_a_convolution():
    image, kernel = torch.rand(2, 20, 20), gaussian_kernel(1.7, 3)
    full = torch.outer(kernel, kernel).float()[None, None]
    expected = F.conv2d(image[:, None], full, padding=3)[:, 0]
    torch.testing.assert_close(_physics.blur(image, kernel), expected)
