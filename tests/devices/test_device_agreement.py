"""On any device a network gives the answers of double precision on the processor.

Differences are relative to the largest logit. Measured on a processor: 1e-6 in float32,
up to 0.009 under autocast to bfloat16 and 0.004 to float16. Turns by 90 degrees change
logits by 1e-6 in float32, and in bfloat16 by up to 0.010: convolutions then add up
rounded products in another order.
"""

import functools

import pytest
import torch
from small_networks import GROUPS, NAMES, TRAINABLE, images, network
from torch.nn.functional import cross_entropy

HALVES = {torch.bfloat16: 0.03, torch.float16: 0.015}


def difference(found, expected):
    expected = expected.double().cpu()
    return float((found.double().cpu() - expected).abs().max() / expected.abs().max())


@functools.cache
def exact_logits(name):
    with torch.no_grad():
        return network(name).double()(images(name).double())


@pytest.mark.parametrize("name", NAMES)
def test_logits(name, device):
    model = network(name).to(device)
    with torch.inference_mode():
        found = model(images(name).to(device))
    assert found.device == device
    assert found.dtype == torch.float32
    assert difference(found, exact_logits(name)) < 1e-4


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", NAMES)
def test_logits_under_autocast(name, dtype, device):
    model = network(name).to(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype):
        found = model(images(name).to(device))
    assert difference(found, exact_logits(name)) < HALVES[dtype]


def gradients(model, x, dtype=None):
    """Of the loss of a batch in training mode, by name, in double precision."""
    labels = torch.arange(len(x), device=x.device) % 3
    model.train()
    with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
        logits = model(x)
    loss = cross_entropy(logits.float() if dtype else logits, labels)
    loss.backward()
    assert all(p.grad.device == x.device for p in model.parameters())
    return {k: p.grad.double().cpu() for k, p in model.named_parameters()}


@functools.cache
def exact_gradients(name):
    return gradients(network(name).double(), images(name, 8).double())


@pytest.mark.parametrize("name", TRAINABLE)
def test_gradients(name, device):
    found = gradients(network(name).to(device), images(name, 8).to(device))
    expected = exact_gradients(name)
    whole = torch.cat([g.flatten() for g in expected.values()]).norm()
    for key, gradient in expected.items():
        # A bias before a norm has no gradient but that of rounding.
        away = (found[key] - gradient).norm()
        assert away < 1e-3 * gradient.norm() + 1e-5 * whole, key


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", TRAINABLE)
def test_gradients_under_autocast(name, dtype, device):
    found = gradients(network(name).to(device), images(name, 8).to(device), dtype)
    expected = exact_gradients(name)
    one, other = (
        torch.cat([gradient.flatten() for gradient in which.values()])
        for which in (found, expected)
    )
    assert torch.cosine_similarity(one, other, 0) > 0.85
    assert 0.8 < one.norm() / other.norm() < 1.25


def rounding(device):
    """Of convolutions in float32: GPUs compute some by Fourier or other transforms."""
    return 1e-5 if device.type == "cpu" else 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*GROUPS, "c8-modelJ", "d4-modelF"])
def test_turns_and_mirror_images_leave_logits(name, dtype, device):
    model, x = network(name).to(device), images(name).to(device)
    half = dtype != torch.float32
    most = 0.03 if half else rounding(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=half):
        expected, mirrored = model(x), difference(model(x.flip(3)), model(x))
        for quarters in (1, 2, 3):
            turned = model(torch.rot90(x, quarters, (2, 3)))
            assert difference(turned, expected) < most
    if name.startswith(("d", "o")):
        assert mirrored < most
    else:  # a network that answers to nothing would pass, too
        assert mirrored > 1e-3


def test_feature_maps_of_2021_turn_along(device):
    model = network("singh2021-c4").to(device)
    x = images("singh2021-c4").to(device)
    with torch.inference_mode():
        maps = model.forward_features(x).unflatten(1, (-1, 4)).amax(2)
        turned = model.forward_features(torch.rot90(x, 1, (2, 3)))
        turned = turned.unflatten(1, (-1, 4)).amax(2)
    assert difference(turned, torch.rot90(maps, 1, (2, 3))) < rounding(device)
