"""Layers on plain tensors against e2cnn's and against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

import lensequiv
from lensequiv import _e2cnn
from lensequiv._e2cnn import FieldType, GeometricTensor, parse_group
from lensequiv.models.layers import (
    AntialiasedPool,
    FieldNorm,
    LocalContrast,
    SteerableConv,
)
from lensequiv.plain import filtered

e2nn = _e2cnn.e2cnn.nn

# Per group: an element of e2cnn and what it does to the pixels.
QUARTER = {"c4": 1, "c8": 2, "d4": (0, 1), "d8": (0, 2)}
POSES = {
    "quarter turn": lambda x: torch.rot90(x, 1, (-2, -1)),
    "mirror": lambda x: x.flip(-1),
}
ACTIONS = [(group, "quarter turn", element) for group, element in QUARTER.items()]
ACTIONS += [(group, "mirror", (1, 0)) for group in ("d4", "d8")]


def field_type(group, fields):
    """Regular fields; 0 stands for one trivial field."""
    space = parse_group(group)
    kinds = [space.regular_repr] * fields or [space.trivial_repr]
    return FieldType(space, kinds)


def images(n, size, channels=1):
    """Preprocessed images: sky around 0, a source with peak 1, noise."""
    steps = torch.linspace(-1, 1, size)
    x, y = steps[None, :] - 0.1, steps[:, None] + 0.05
    ring = torch.exp(-0.5 * ((torch.hypot(x, y) - 0.5) / 0.1) ** 2)
    ring = ring * (0.6 + 0.4 * torch.cos(torch.atan2(y, x)))
    return ring + 0.05 * torch.randn(n, channels, size, size)


def largest(x):
    return float(x.detach().abs().max())


# Antialiased pooling


@pytest.mark.parametrize("shape", [(33, 33), (17, 17), (18, 33)])
def test_antialiased_pool_equals_e2cnn(shape):
    fields = field_type("c4", 3)
    reference = e2nn.PointwiseAvgPoolAntialiased(fields, sigma=0.66, stride=2)
    x = torch.randn(2, fields.size, *shape, requires_grad=True)
    ours = AntialiasedPool()(x)
    theirs = reference(GeometricTensor(x, fields)).tensor
    assert ours.shape == theirs.shape == (2, 12, -(-shape[0] // 2), -(-shape[1] // 2))
    assert largest(ours - theirs) < 1e-6
    cotangent = torch.randn_like(ours)
    gradients = [torch.autograd.grad(y, x, cotangent)[0] for y in (ours, theirs)]
    assert largest(gradients[0] - gradients[1]) < 1e-6


@pytest.mark.parametrize("sigma", [0.66, 1.0])
def test_both_forms_of_antialiased_pool_agree(sigma):
    """Accelerators have depthwise convolutions where processors have products."""
    pool = AntialiasedPool(sigma)
    x = torch.randn(2, 6, 49, 33).requires_grad_()
    one, other = pool(x), filtered(x, pool.taps, 2, len(pool.kernel) // 2)
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
    grad = torch.randn_like(one)
    gradients = [torch.autograd.grad(y, x, grad)[0] for y in (one, other)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
    meta = pool.to("meta")(x.to("meta"))
    assert meta.shape == one.shape and meta.device.type == "meta"


def test_antialiased_pool_has_nothing_to_save_and_follows_the_dtype():
    pool = AntialiasedPool()
    assert not pool.state_dict() and not list(pool.parameters())
    x = torch.randn(1, 2, 9, 9)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        y = pool(x.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), pool(x), rtol=0.03, atol=0.03)


def test_training_after_inference_mode():
    pool, x = AntialiasedPool(), torch.randn(1, 2, 9, 9, requires_grad=True)
    with torch.inference_mode():
        expected = pool(x).clone()
    y = pool(x)
    assert torch.equal(y, expected)
    y.sum().backward()
    assert largest(x.grad) > 0


def test_steerable_conv_takes_the_memory_format_of_its_network():
    conv = SteerableConv(field_type("c4", 2), field_type("c4", 3), 3)
    x = torch.randn(2, 8, 9, 9)
    expected = conv(x)
    assert expected.is_contiguous()
    found = conv.to(memory_format=torch.channels_last)(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)
    assert conv.to(memory_format=torch.contiguous_format)(x).is_contiguous()


@pytest.mark.skipif(
    torch.__version__ < (2, 5), reason="torch 2.4 compiles training networks in parts"
)
@pytest.mark.slow
def test_training_networks_compile_as_a_whole():
    model = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (2,))).train()
    assert torch._dynamo.explain(model)(torch.rand(2, 1, 33, 33)).graph_break_count == 0


# Field norm


def norms(group="c8", fields=6):
    """Ours and e2cnn's with the same, arbitrary scale and shift."""
    kind = field_type(group, fields)
    ours, reference = FieldNorm(fields, kind.size // fields), e2nn.InnerBatchNorm(kind)
    theirs = getattr(reference, f"batch_norm_[{kind.size // fields}]")
    with torch.no_grad():
        ours.weight.uniform_(0.5, 1.5)
        ours.bias.normal_()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, lambda x: reference(GeometricTensor(x, kind)).tensor


@pytest.mark.parametrize("training", [True, False])
def test_field_norm_equals_inner_batch_norm(training):
    ours, theirs, reference = norms()
    offset = torch.randn(1, 48, 1, 1)
    for _ in range(3):  # running statistics away from 0 and 1
        x = 2 * torch.randn(4, 48, 9, 7) + offset
        assert largest(ours(x) - reference(x)) < 1e-5
    assert largest(ours.running_mean) > 0.1
    for one in (ours, theirs):
        one.train(training)
    x = (2 * torch.randn(4, 48, 9, 7) + offset).requires_grad_()
    y, expected = ours(x), reference(x)
    assert largest(y - expected) < 1e-5
    cotangent = torch.randn_like(y)
    gradients = torch.autograd.grad(y, [x, ours.weight, ours.bias], cotangent)
    wanted = torch.autograd.grad(expected, [x, theirs.weight, theirs.bias], cotangent)
    for found, right in zip(gradients, wanted, strict=True):
        assert largest(right) > 0.1
        assert largest(found - right) < 1e-5 * largest(right)
    state, reference_state = ours.state_dict(), theirs.state_dict()
    assert state.keys() == reference_state.keys()
    for key, value in state.items():
        torch.testing.assert_close(value, reference_state[key], msg=key)
    assert int(ours.num_batches_tracked) == 3 + training


def test_field_norm_shares_statistics_within_a_field():
    norm = FieldNorm(2, 4)
    x = torch.randn(8, 8, 9, 9) * torch.tensor([1.0] * 4 + [5.0] * 4).view(1, 8, 1, 1)
    x = x + torch.arange(8.0).view(1, 8, 1, 1)
    y = norm(x).view(8, 2, 4, 9, 9)
    torch.testing.assert_close(y.mean((0, 2, 3, 4)), torch.zeros(2), atol=1e-5, rtol=0)
    assert largest(y.mean((0, 3, 4))) > 0.1  # not channel by channel
    # Exchanging a field's channels before or after is the same.
    turned = x.view(8, 2, 4, 9, 9).roll(1, 2)
    expected = norm(x).view(8, 2, 4, 9, 9).roll(1, 2)
    found = norm(turned.reshape(8, 8, 9, 9)).view_as(expected)
    torch.testing.assert_close(found, expected)


# Steerable convolution


@pytest.mark.parametrize(
    ("fields", "kernel", "stride"), [(0, 15, 4), (3, 5, 1), (3, 5, 2)]
)
@pytest.mark.parametrize(("group", "pose", "element"), ACTIONS)
def test_steerable_conv_is_equivariant(group, pose, element, fields, kernel, stride):
    """Turning the input turns the output and permutes each field's channels."""
    in_type, out_type = field_type(group, fields), field_type(group, 3)
    conv = SteerableConv(in_type, out_type, kernel, stride=stride)
    move = POSES[pose]

    def transform(x, kind):
        return move(GeometricTensor(x, kind).transform_fibers(element).tensor)

    x = torch.randn(2, in_type.size, 33, 33)
    with torch.no_grad():
        y = conv(x)
        moved = conv(transform(x, in_type))
        assert y.shape[2] == 32 // stride + 1
        assert largest(moved - transform(y, out_type)) < 1e-5 * largest(y)
        # The permutation is part of it: without it the test must fail.
        assert largest(moved - move(y)) > 0.1 * largest(y)


@pytest.mark.parametrize("group", ["c8", "d4"])
def test_group_elements_permute_channels_of_a_field(group):
    """What the pooling over the group relies on: channel f * G + g."""
    kind = field_type(group, 2)
    order = kind.size // 2
    for element in kind.gspace.fibergroup.elements:
        matrix = torch.tensor(kind.representation(element)).round().long()
        one = matrix[:order, :order]
        assert (one.sum(0) == 1).all() and (one.sum(1) == 1).all()
        assert torch.equal(matrix, torch.block_diag(one, one))


@pytest.mark.parametrize("stride", [2, 4])
def test_strided_steerable_conv_fails_on_even_sizes(stride):
    in_type, out_type = field_type("c4", 0), field_type("c4", 3)
    conv = SteerableConv(in_type, out_type, 5, stride=stride)
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        y, moved = conv(x), conv(torch.rot90(x, 1, (2, 3)))
    expected = torch.rot90(
        GeometricTensor(y, out_type).transform_fibers(1).tensor, 1, (2, 3)
    )
    assert largest(moved - expected) > 0.1 * largest(y)


def test_steerable_conv_equals_e2cnn():
    in_type, out_type = field_type("c8", 2), field_type("c8", 3)
    ours = SteerableConv(in_type, out_type, 5, stride=2)
    theirs = e2nn.R2Conv(
        in_type, out_type, 5, stride=2, padding=2, bias=False, initialize=False
    )
    assert list(ours.state_dict()) == ["weights"]
    with torch.no_grad():
        theirs.weights.copy_(ours.weights)
        x = torch.randn(2, 16, 17, 17)
        expected = theirs(GeometricTensor(x, in_type)).tensor
        assert largest(ours(x) - expected) < 1e-5 * largest(expected)
        trained = ours(x)
        assert torch.equal(ours.eval()(x), trained)


# Local contrast

TURNS = [(k, flip) for k in range(4) for flip in (False, True)][1:]


@pytest.mark.parametrize("size", [33, 64, 129])
def test_local_contrast_commutes_with_turns_and_flips(size):
    contrast, x = LocalContrast(3.0, 0.05), images(2, size)
    y = contrast(x)
    assert y.shape == x.shape and largest(y) > 0.5
    for k, flip in TURNS:

        def move(z, k=k, flip=flip):
            z = torch.rot90(z, k, (2, 3))
            return z.flip(3) if flip else z

        assert largest(contrast(move(x)) - move(y)) < 1e-6
        assert largest(move(y) - y) > 0.1


@pytest.mark.parametrize(("sigma", "floor"), [(3.0, 0.05), (1.5, 0.2)])
def test_local_contrast_is_what_it_says(sigma, floor):
    x = images(2, 33, channels=2).double()
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    squares = steps[:, None] ** 2 + steps[None, :] ** 2
    kernel = torch.exp(-squares / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(2, 1, -1, -1)
    blurred = F.conv2d(x, kernel, padding=radius, groups=2)
    expected = (x - blurred) / (blurred.clamp(min=0) + floor).sqrt()
    torch.testing.assert_close(LocalContrast(sigma, floor)(x), expected)
    assert (blurred < 0).any()  # the clamp was needed
