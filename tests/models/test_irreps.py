"""Fields of the continuous groups: the function on the group, and what keeps it."""

import math

import pytest
import torch
from torch import nn

from lensequiv._e2cnn import parse_group
from lensequiv.equivariance import Element, transform
from lensequiv.models.fields import FourierFields
from lensequiv.models.irreps import FourierNorm, fourier_fields, sampling_matrix
from lensequiv.plain import irrep_norms

GROUPS = ["so2", "o2"]


def kind_of(group, max_frequency=3, samples=16):
    return FourierFields(group, max_frequency, samples)


def turned(x, kind, degrees, flip=False):
    """What an element does to the channels of fields without place."""
    count = x.shape[1] // kind.size
    flat = transform(
        x.flatten(2).mT.flatten(0, 1), Element(degrees, flip), kind.type(count)
    )
    return flat.unflatten(0, (len(x), -1)).mT.reshape(x.shape)


@pytest.mark.parametrize(("group", "size"), [("so2", 7), ("o2", 14)])
def test_size_and_parts(group, size):
    kind = kind_of(group)
    assert kind.size == size == sum(kind.parts)
    assert kind.parts[0] == 1 and kind.parts.count(2) == (size - size // 7) // 2
    assert kind.count_invariants(5) == 5 * len(kind.parts)


def test_values_are_those_of_the_fourier_series():
    """f(phi) = a_0 + sqrt 2 sum_k (a_k cos k phi + b_k sin k phi), over sqrt 7."""
    representation = fourier_fields(parse_group("so2", 3), 3)
    matrix = sampling_matrix(representation, 12)
    phi = 2 * math.pi * torch.arange(12, dtype=torch.float64) / 12
    rows = [torch.ones(12, dtype=torch.float64)]
    for k in (1, 2, 3):
        rows += [2**0.5 * torch.cos(k * phi), 2**0.5 * torch.sin(k * phi)]
    torch.testing.assert_close(matrix, torch.stack(rows, 1) / 7**0.5)


@pytest.mark.parametrize("group", GROUPS)
def test_a_turned_field_has_the_values_moved_on(group):
    kind = kind_of(group)
    matrix = sampling_matrix(kind.representation, 16).float()
    x = torch.randn(2, kind.size)
    for steps in (1, 5):
        moved = transform(x, Element(-360 / 16 * steps), kind.type(1))
        values, expected = moved @ matrix.T, (x @ matrix.T).unflatten(1, (-1, 16))
        torch.testing.assert_close(values, expected.roll(steps, 2).flatten(1))


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("group", GROUPS)
def test_activation_commutes_with_the_sampled_turns(group, activation):
    kind = kind_of(group)
    layer = kind.activation(activation).double()
    layer.to_values, layer.to_coefficients = (
        torch.as_tensor(m) for m in exact(kind.representation, 16)
    )
    x = torch.randn(2, 3 * kind.size, 4, 5, dtype=torch.float64)
    poses = [(90.0, False), (22.5, False)]
    poses += [(0.0, True), (112.5, True)] if group == "o2" else []
    for degrees, flip in poses:
        found = layer(turned(x, kind, degrees, flip))
        torch.testing.assert_close(found, turned(layer(x), kind, degrees, flip))


def exact(representation, samples):
    matrix = sampling_matrix(representation, samples)
    return matrix, torch.linalg.pinv(matrix)


@pytest.mark.parametrize("group", GROUPS)
def test_more_samples_commute_better_with_other_turns(group):
    """At 10 degrees, which no sample has."""
    torch.manual_seed(0)
    errors = []
    for samples in (8, 16, 32):
        kind = kind_of(group, samples=samples)
        layer = kind.activation("gelu")
        x = torch.randn(8, kind.size, 3, 3)
        found, wanted = layer(turned(x, kind, 10)), turned(layer(x), kind, 10)
        errors.append(float((found - wanted).norm() / wanted.norm()))
    assert errors[0] > 5 * errors[1] and errors[1] > 5 * errors[2]
    assert errors[2] < 1e-3


def test_the_identity_is_kept_by_sampling_and_projecting():
    kind = kind_of("o2", 2, 8)
    layer = kind.activation("relu")
    layer.function = lambda values: values
    x = torch.randn(2, 2 * kind.size, 3, 3)
    torch.testing.assert_close(layer(x), x)


@pytest.mark.parametrize("group", GROUPS)
def test_norm_commutes_with_every_turn(group):
    kind = kind_of(group)
    norm = kind.norm(3)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    x = torch.randn(4, 3 * kind.size, 5, 5)
    for training in (True, False):
        norm.train(training)
        torch.testing.assert_close(norm(turned(x, kind, 33)), turned(norm(x), kind, 33))


def test_norm_makes_variance_1_and_invariant_mean_0():
    torch.manual_seed(0)
    norm = FourierNorm(2, 7)
    x = torch.randn(64, 14, 9, 9)
    x[:, 0] += 3
    x[:, 7:] *= 5
    y = norm(x).unflatten(1, (2, 7))
    torch.testing.assert_close(
        y[:, :, 0].mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        y.square().mean((0, 2, 3, 4)), torch.ones(2), atol=1e-4, rtol=0
    )
    assert int(norm.num_batches_tracked) == 1
    torch.testing.assert_close(
        norm.running_mean, torch.tensor([0.3, 0.0]), atol=0.02, rtol=0
    )
    torch.testing.assert_close(
        norm.running_var, torch.tensor([1.0, 3.4]), atol=0.02, rtol=0
    )


def test_norm_statistics_can_be_a_plain_average():
    norm = FourierNorm(1, 3)
    norm.momentum = None
    batches = [torch.randn(4, 3, 5, 5) + i for i in range(3)]
    for x in batches:
        norm(x)
    expected = torch.stack([x[:, 0].mean() for x in batches]).mean()
    torch.testing.assert_close(norm.running_mean[0], expected)


@pytest.mark.parametrize("group", GROUPS)
def test_norm_folds_into_the_filter(group):
    kind = kind_of(group)
    norm = kind.norm(2)
    for _ in range(20):
        norm(2 + torch.randn(8, 2 * kind.size, 4, 4))
    norm.eval()
    conv = nn.Conv2d(3, 2 * kind.size, 3, bias=False)
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        weight, bias = kind.fold(conv.weight, norm)
        found = nn.functional.conv2d(x, weight, bias)
        torch.testing.assert_close(found, norm(conv(x)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("group", GROUPS)
def test_invariants(group):
    kind = kind_of(group)
    x = torch.randn(2, 3 * kind.size, 4, 4)
    found = kind.invariants(x)
    assert found.shape == (2, kind.count_invariants(3), 4, 4)
    torch.testing.assert_close(kind.invariants(turned(x, kind, 17)), found)
    if group == "o2":
        torch.testing.assert_close(kind.invariants(turned(x, kind, 17, True)), found)
    assert (found[:, 0] < 0).any()  # the invariant part keeps its sign
    torch.testing.assert_close(found[:, 0], x[:, 0])
    torch.testing.assert_close(found[:, -1], x[:, -2:].norm(dim=1))


def test_length_zero_has_a_gradient():
    x = torch.zeros(1, 3, 1, 1, requires_grad=True)
    irrep_norms(x, [1, 2]).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 18}, "samples=18: expected a multiple of 4"),
        ({"max_frequency": 9}, "max_frequency=9"),
        ({"max_frequency": 4, "samples": 8}, "samples=8"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        kind_of("so2", **options)
