"""Norms by formulas of their own: torch's on one device, one process's on several."""

import copy

import pytest
import torch
import torch.multiprocessing as mp
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import lensequiv
from lensequiv.models import synchronise_batch_norm
from lensequiv.models.norms import FieldNorm, SharedNorm

SMALL = {"stem_fields": 2, "stem_kernel": 7, "stages": ((2,), (2,), (3,))}
NETWORKS = {
    "c4": SMALL,
    "d4": {**SMALL, "stem_stride": 2, "activation": "gelu"},
    "so2": SMALL,
    "resnet18": {},
    "singh2021-c4": {"fields": (1, 1, 1, 1, 1, 1)},
}


# ResNet-18's last norms see six values a channel, which enlarges rounding.
DOUBLE = ["resnet18", "singh2021-c4"]


def build(name):
    torch.manual_seed(3)
    model = lensequiv.create_model(name, **NETWORKS[name]).train()
    return model.double() if name in DOUBLE else model


def batch(name, count):
    drawn = torch.Generator().manual_seed(4)
    side = 129 if name.startswith("singh") else 33
    x = torch.randn(count, 1, side, side, generator=drawn)
    x = x * torch.linspace(0.5, 3, count).view(-1, 1, 1, 1)
    return x.double() if name in DOUBLE else x, torch.arange(count) % 3


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_from_batch_is_batch_norm(layout, momentum):
    one = FieldNorm(3, 4).double()
    one.momentum = momentum
    with torch.no_grad():
        one.weight.uniform_(0.5, 2)
        one.bias.normal_()
    other = copy.deepcopy(one)
    wide = torch.channels_last if layout == "NHWC" else torch.contiguous_format
    for _ in range(2):
        x = 3 + 2 * torch.randn(5, 12, 6, 7).double()
        x = x.to(memory_format=wide).requires_grad_()
        y, expected = one.from_batch(x), other(x)
        assert y.is_contiguous(memory_format=wide)
        torch.testing.assert_close(y, expected)
        grad = torch.randn_like(y)
        found = torch.autograd.grad(y, [x, one.weight, one.bias], grad)
        right = torch.autograd.grad(expected, [x, other.weight, other.bias], grad)
        torch.testing.assert_close(found, right)
    torch.testing.assert_close(one.state_dict(), other.state_dict())


def test_from_batch_in_bfloat16():
    norm, x = FieldNorm(2, 4), torch.randn(4, 8, 9, 9).bfloat16().requires_grad_()
    y = norm.from_batch(x)
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    assert x.grad.dtype == torch.bfloat16
    torch.testing.assert_close(y, FieldNorm(2, 4)(x), rtol=0.02, atol=0.02)


def test_one_process_is_left_alone():
    model = build("c4")
    assert synchronise_batch_norm(model) is model
    assert not any(isinstance(m, SharedNorm) for m in model.modules())


def steps(model, wrapped, x, labels):
    """Two steps of plain gradient descent; the gradients of the first one."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    kept = None
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(wrapped(x), labels).backward()
        if kept is None:
            kept = {k: p.grad.clone() for k, p in model.named_parameters()}
        optimizer.step()
    return kept


def one_of_two(rank, address, path, names):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=address, rank=rank, world_size=2
    )
    results = {}
    for name in names:
        model = synchronise_batch_norm(build(name))
        x, labels = batch(name, 6)
        mine = slice(rank, None, 2)
        found = steps(model, DistributedDataParallel(model), x[mine], labels[mine])
        results[name] = found, model.tensors()
    torch.save(results, f"{path}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Gradients and tensors of every network after two steps of two processes."""
    path = tmp_path_factory.mktemp("two")
    address = f"file://{path}/meeting"
    mp.spawn(one_of_two, (address, str(path), list(NETWORKS)), nprocs=2)
    return [torch.load(path / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_are_one(of_two):
    """In one test, so that the processes start once."""
    for name in NETWORKS:
        model, most = build(name), 1e-10 if name in DOUBLE else 1e-5
        gradients = steps(model, model, *batch(name, 6))
        for found, tensors in (part[name] for part in of_two):
            torch.testing.assert_close(found, gradients, rtol=most, atol=most)
            torch.testing.assert_close(tensors, model.tensors(), rtol=most, atol=most)


def test_networks_without_it_differ():
    """The halves of the batch are unlike each other, so the test above can fail."""
    x, _ = batch("c4", 6)
    model = build("c4")
    whole = model(x)
    halves = torch.stack([model(x[0::2]), model(x[1::2])], 1).flatten(0, 1)
    assert (whole - halves).abs().max() > 1e-2
