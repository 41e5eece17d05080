"""Bases with the right low-frequency limit, judged by polynomials on the pixels."""

import numpy as np
import pytest
import torch

from lensequiv._bases import isotropic_factors, make_isotropic
from lensequiv._e2cnn import FieldType, R2Conv, parse_group


def sampled(size, isotropic):
    """Kernels from a scalar to irreps of SO(2), with their frequencies.

    Complex kernels w(|p|) exp(i m theta) as (frequency, radius, (size, size) array).
    """
    space = parse_group("so2", 11)
    scalar = FieldType(space, [space.trivial_repr])
    found = []
    for m in range(12):
        irrep = FieldType(space, [space.fibergroup.irrep(m)])
        try:
            conv = R2Conv(scalar, irrep, size, initialize=False)
        except ValueError:  # no kernel of this frequency
            continue
        if isotropic:
            make_isotropic(conv)
        (block,) = conv.basisexpansion._modules.values()
        basis = block.sampled_basis.double().reshape(-1, irrep.size, size, size).numpy()
        for i, attributes in enumerate(block.attributes):
            if m == 0:
                kernel = basis[i, 0] + 0j
            elif i % 2:  # the same kernel, turned by a quarter of its period
                continue
            else:
                kernel = basis[i, 0] + 1j * basis[i, 1]
            assert attributes["frequency"] in (m, -m)
            found.append((m, float(attributes["radius"]), kernel))
    return found


def answers(kernel, order):
    """To r^order exp(i n theta), by n."""
    half = len(kernel) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r, theta = np.hypot(x, y), np.arctan2(y, x)
    return {
        n: (kernel * r**order * np.exp(1j * n * theta)).sum()
        for n in range(-order, order + 1, 2)
    }


def stray(kernel, m, order):
    """Largest answer to what the kernel should not see, over its answer's scale."""
    half = len(kernel) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    scale = (np.abs(kernel) * np.hypot(x, y) ** order).sum()
    found = answers(kernel, order)
    wanted = m if abs(found.get(m, 0)) > abs(found.get(-m, 0)) else -m
    return max((abs(v) for n, v in found.items() if n != wanted), default=0) / scale


@pytest.mark.parametrize("size", [3, 5, 7, 9, 15])
def test_a_smooth_map_has_the_answer_of_the_plane(size):
    kernels = sampled(size, isotropic=True)
    assert {m for m, _, _ in kernels} >= {0, 1, 2}
    for m, radius, kernel in kernels:
        for order in range(m + 1):
            assert stray(kernel, m, order) < 1e-5, (m, radius, order)


@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_as_e2cnn_samples_them_it_has_not(size):
    worst = max(
        stray(kernel, m, order)
        for m, radius, kernel in sampled(size, isotropic=False)
        for order in range(m + 1)
        if radius
    )
    assert worst > 0.003


@pytest.mark.parametrize(("isotropic", "ratio"), [(False, 1.17), (True, 1.0)])
def test_strength_at_45_degrees(isotropic, ratio):
    """The map x^2 - y^2, seen by a 3 x 3 kernel, and turned by 45 degrees: 2 x y."""
    (kernel,) = (k for m, _, k in sampled(3, isotropic) if m == 2)
    y, x = np.mgrid[-1:2, -1:2]
    straight = np.abs((kernel * (x**2 - y**2)).sum())
    turned = np.abs((kernel * (2 * x * y)).sum())
    assert turned / straight == pytest.approx(ratio, abs=0.005)


def test_first_stray_answer_of_frequencies_0_and_1():
    """They have none up to their own order; the next one is taken away."""
    for size in (3, 5, 7):
        for m, radius, kernel in sampled(size, isotropic=True):
            if radius and m < 2:
                assert stray(kernel, m, 4 - m) < 1e-5


def test_corners_of_3_x_3():
    """m = 2: corners weigh half of the edges; m = 0, 1: 1/4 and 1/sqrt(8)."""
    distance = np.array([2, 1, 2, 1, 0, 1, 2, 1, 2]) ** 0.5
    weight = np.exp(-((distance - 1) ** 2) / (2 * 0.4**2))
    for m, expected in ((0, 1 / 4), (1, 8**-0.5), (2, 1 / 2)):
        w = weight * isotropic_factors(3, 1.0, 0.4, m)
        assert w[0] / w[1] == pytest.approx(expected)


def test_factors_have_the_symmetry_of_the_square():
    factors = isotropic_factors(9, 3.0, 0.6, 5).reshape(9, 9)
    np.testing.assert_allclose(factors, np.rot90(factors), rtol=1e-9)
    np.testing.assert_allclose(factors, factors[:, ::-1], rtol=1e-9)


def test_too_few_pixels():
    with pytest.raises(
        ValueError, match=r"3 x 3 pixels have no isotropic .* frequency 4"
    ):
        isotropic_factors(3, 1.0, 0.4, 4)
    with pytest.raises(ValueError, match="size=4: expected an odd number"):
        isotropic_factors(4, 1.0, 0.4, 0)


@pytest.mark.parametrize("group", ["c8", "d4"])
def test_turns_by_90_degrees_stay_exact_and_norms_stay(group):
    space = parse_group(group)
    kind = FieldType(space, [space.regular_repr])
    torch.manual_seed(0)
    before = R2Conv(kind, kind, 5, padding=2)
    conv = R2Conv(kind, kind, 5, padding=2)
    make_isotropic(conv)
    (old,) = before.basisexpansion._modules.values()
    (new,) = conv.basisexpansion._modules.values()
    assert not torch.allclose(old.sampled_basis, new.sampled_basis, atol=1e-3)
    for a, b in zip(old.sampled_basis, new.sampled_basis, strict=True):
        torch.testing.assert_close(a.norm(), b.norm())
    x = torch.randn(1, kind.size, 9, 9)
    from lensequiv.equivariance import assert_equivariant

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.in_type, self.out_type = conv, kind, kind

        def forward(self, x):
            filters, _ = conv.filters()
            return torch.nn.functional.conv2d(x, filters, padding=2)

    assert_equivariant(Plain().eval(), x)
