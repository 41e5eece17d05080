"""Norms and poolings of a device against those of the processor, in double precision.

On CUDA they are other kernels: see `lensequiv.models.norms.by_channel` and
`lensequiv.plain.as_products`.
"""

import copy

import pytest
import torch
from torch import nn

from lensequiv.models.layers import AntialiasedPool, LocalContrast
from lensequiv.models.norms import FieldNorm, SharedNorm

FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
CLOSE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.bfloat16: {"rtol": 0.02, "atol": 0.03},
}


def compare(layer, x, device, dtype, layout):
    """Result, gradients, running statistics: the device's and double precision's."""
    exact = copy.deepcopy(layer).double()
    layer = layer.to(device)
    wide = x.double().requires_grad_()
    expected = exact(wide)
    there = x.to(device, dtype).contiguous(memory_format=FORMATS[layout])
    found = layer(there.requires_grad_())
    assert found.dtype == dtype
    assert found.device == device
    grad = torch.randn(expected.shape)
    expected.backward(grad.double())
    found.backward(grad.to(found))
    pairs = [(found, expected), (there.grad, wide.grad)]
    pairs += [
        (mine, theirs)
        for mine, theirs in zip(layer.buffers(), exact.buffers(), strict=True)
    ]
    pairs += [
        (mine.grad, theirs.grad)
        for mine, theirs in zip(layer.parameters(), exact.parameters(), strict=True)
    ]
    for mine, theirs in pairs:
        scale = max(1.0, float(theirs.detach().abs().max()))
        torch.testing.assert_close(
            mine.detach().double().cpu() / scale,
            theirs.detach().double() / scale,
            **CLOSE[dtype],
        )


def drawn(norm):
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    return norm


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("layout", FORMATS)
def test_field_norm(training, dtype, layout, device):
    x = 1 + 2 * torch.randn(6, 24, 25, 25)
    compare(drawn(FieldNorm(3, 8)).train(training), x, device, dtype, layout)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("layout", FORMATS)
def test_formulas_of_norms_that_processes_share(dtype, layout, device):
    """The same calculation as with several processes, here of one."""

    class Alone(SharedNorm):
        shared = False

    norm, twin = drawn(Alone(8)), nn.BatchNorm2d(8)
    twin.load_state_dict(norm.state_dict())
    x = 1 + 2 * torch.randn(6, 8, 13, 13)
    torch.testing.assert_close(norm(x), twin(x), rtol=1e-4, atol=1e-5)
    compare(norm, x, device, dtype, layout)


@pytest.mark.parametrize("size", [13, 24, 49])
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("layout", FORMATS)
def test_antialiased_pool(size, dtype, layout, device):
    compare(AntialiasedPool(), torch.randn(2, 8, size, size), device, dtype, layout)


@pytest.mark.parametrize("edge", [None, 4.0])
def test_local_contrast(edge, device):
    layer = LocalContrast(3.0, 0.05, edge)
    x = torch.rand(2, 1, 65, 65)
    compare(layer, x, device, torch.float32, "NCHW")


@pytest.mark.accelerator("that norms and poolings never wait for the device")
def test_training_does_not_wait_for_the_device(device):
    if device.type != "cuda":
        pytest.skip("only CUDA tells when it is waited for")
    norm, pool = FieldNorm(3, 8).to(device), AntialiasedPool()
    pool = pool.to(device)
    x = torch.randn(6, 24, 25, 25, device=device, requires_grad=True)
    pool(norm(x)).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pool(norm(x)).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
