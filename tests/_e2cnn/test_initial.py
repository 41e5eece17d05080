"""Initial weights: as wide as those of e2cnn, and no draws in vain."""

import pytest
import torch
from e2cnn_layers import conv

from lensequiv._e2cnn import e2cnn, he_init_std


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # e2cnn, for interleaved fields
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("group", ["c1", "c4", "c8", "d1", "d4", "d5"])
def test_he_init_std_equals_e2cnn(group, kernel):
    reference = e2cnn.nn.init._generalized_he_init_variances
    for source, target in (
        ("tt", "trr"),
        ("ttrrr", "trr"),
        ("trr", "t"),
        ("rtr", "trtr"),
    ):
        layer = conv(group, source, target, kernel, initialize=False)
        expected = reference(layer.basisexpansion)
        torch.testing.assert_close(he_init_std(layer.basisexpansion), expected)
        assert expected.shape == layer.weights.shape


def test_initial_weights_have_these_standard_deviations():
    layer = conv("c8", "tttrrr", "trrrr", 5)
    std = he_init_std(layer.basisexpansion)
    assert len(std.unique()) >= 4  # one scale for all weights would not do
    for value in std.unique():
        chosen = layer.weights.detach()[std == value] / value
        n = len(chosen)
        assert abs(chosen.mean()) < 4 * n**-0.5
        assert abs(chosen.var() - 1) < 4 * (2 / n) ** 0.5
    assert (conv("c8", "t", "r").weights != 0).all()


def test_initialisation_depends_on_the_seed_alone():
    first, same, other = conv(seed=3), conv(seed=3), conv(seed=4)
    assert torch.equal(first.weights, same.weights)
    assert not torch.equal(first.weights, other.weights)


def test_without_initialisation_weights_are_zero_and_random_state_untouched():
    layer = conv(initialize=False)  # seeds with 0
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert layer.weights.requires_grad and not layer.weights.any()
