"""Activation checkpointing changes nothing but the memory."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

import lensequiv

NAMES = ["c4", "d4", "resnet18"]


def train_step(model, x, labels, bf16=False):
    """One forward and backward pass; bytes that were kept between them."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        loss = F.cross_entropy(model(x).float(), labels)
    loss.backward()
    return sum(kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_statistics_are_those_of_ordinary_training(name, bf16):
    options = {} if name == "resnet18" else {"dropout": 0.3}
    ordinary = lensequiv.create_model(name, **options).train()
    saving = copy.deepcopy(ordinary).set_grad_checkpointing()
    x, labels = torch.rand(8, 1, 65, 65), torch.arange(8) % 3
    for _ in range(2):
        much = train_step(ordinary, x, labels, bf16)
        little = train_step(saving, x, labels, bf16)
    assert little < 0.7 * much
    state = saving.state_dict()
    for key, value in ordinary.state_dict().items():
        assert torch.equal(state[key], value), key
    for a, b in zip(ordinary.parameters(), saving.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.slow
def test_the_2021_network_has_it_too():
    fields = (4, 6, 6, 8, 8, 6)  # the same layers in a tenth of the time
    model = lensequiv.create_model("singh2021-c4", fields=fields).train()
    x, labels = torch.rand(2, 1, 129, 129), torch.tensor([0, 1])
    with torch.no_grad():
        before = copy.deepcopy(model.state_dict())
    gradients = []
    for saving in (False, True):
        model.load_state_dict(before)
        model.set_grad_checkpointing(saving).zero_grad()
        train_step(model, x, labels)
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_evaluation_and_copies():
    model = lensequiv.create_model("c4").set_grad_checkpointing().eval()
    x = torch.rand(2, 1, 65, 65)
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)
        assert torch.equal(model.set_grad_checkpointing(False)(x), expected)
    assert pickle.loads(pickle.dumps(model.set_grad_checkpointing()))._recompute
