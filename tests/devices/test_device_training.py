"""Training on a device: reproducible, in replicas, and seen at once in evaluation."""

import pytest
import torch
from small_networks import TRAINABLE, images, network
from torch import nn
from torch.nn.functional import cross_entropy

# The backward pass of ResNet's max pooling is not reproducible on CUDA.
REPRODUCIBLE = [name for name in TRAINABLE if name != "resnet18"]


def trained(name, device, dtype, wrap=lambda model: model):
    """Losses of two steps, and the network after them."""
    torch.manual_seed(5)
    model = network(name).to(device).train()
    replicated = wrap(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = images(name, 6).to(device)
    labels = torch.arange(6, device=device) % 3
    losses = []
    for _ in range(2):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = replicated(x)
        loss = cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), model


@pytest.fixture
def _reproducible():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_reproducible")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", REPRODUCIBLE)
def test_training_is_reproducible(name, dtype, device):
    losses, model = trained(name, device, dtype)
    again, twin = trained(name, device, dtype)
    assert torch.equal(losses, again)
    assert not torch.equal(losses[0], losses[1])
    for key, value in model.tensors().items():
        assert torch.equal(value, twin.tensors()[key]), key


@pytest.mark.parametrize("name", TRAINABLE)
def test_gradients_reach_all_weights_on_the_device(name, device):
    before = network(name).to(device)
    _, model = trained(name, device, torch.float32)
    for (key, old), new in zip(
        before.named_parameters(), model.parameters(), strict=True
    ):
        assert new.grad is not None, key
        assert new.grad.device == device, key
        assert bool(new.grad.isfinite().all()), key
        assert not torch.equal(old, new), key


@pytest.mark.parametrize("name", TRAINABLE)
def test_evaluation_follows_weights_that_change_in_place(name, device):
    model, x = network(name).to(device), images(name).to(device)
    with torch.no_grad():
        before = model(x)
        for parameter in model.parameters():
            parameter.data.mul_(0.9).add_(0.01)
        after = model(x)
        twin = network(name)
        twin.load_state_dict(model.state_dict())
        expected = twin.to(device)(x)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRAINABLE)
def test_data_parallel(name, device):
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    places = [torch.device("cuda", i) for i in range(count)] or None
    if places:  # the device under test first, where the weights are
        places = [device, *(place for place in places if place != device)]

    def replicas(model):
        return nn.DataParallel(model, places)

    model, x = network(name).to(device), images(name).to(device)
    with torch.no_grad():
        found = replicas(model)(x)
        torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-5)
    losses, _ = trained(name, device, torch.float32, replicas)
    assert bool(losses.isfinite().all())
    assert losses.device == device


@pytest.mark.parametrize("name", TRAINABLE)
def test_a_replica_answers_as_its_network(name, device):
    """What `DataParallel` does on each further card, here on the same one."""
    model, x = network(name).to(device), images(name).to(device)
    copies = {m: m._replicate_for_data_parallel() for m in model.modules()}
    for module, replica in copies.items():
        for key, child in module._modules.items():
            setattr(replica, key, copies[child])
        for key, value in module._parameters.items():
            replica._parameters[key] = None
            if value is not None:  # a tensor, no longer a parameter
                del replica._parameters[key]
                setattr(replica, key, value.detach().clone())
        for key, value in module._buffers.items():
            replica._buffers[key] = None if value is None else value.clone()
    with torch.no_grad():
        torch.testing.assert_close(copies[model](x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["d4", "c8", "singh2021-c4", "resnet18"])
def test_activation_checkpointing_on_the_device(name, device):
    def saving(model):
        return model.set_grad_checkpointing()

    losses, model = trained(name, device, torch.float32)
    found, twin = trained(name, device, torch.float32, saving)
    torch.testing.assert_close(found, losses, rtol=1e-4, atol=1e-5)
    for key, value in model.tensors().items():
        if "running" in key:
            torch.testing.assert_close(
                twin.tensors()[key], value, rtol=1e-3, atol=1e-3, msg=key
            )
