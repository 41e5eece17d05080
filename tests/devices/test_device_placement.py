"""Networks move between devices as a whole, and stay what they are.

Without an accelerator the other device is torch's `meta`, whose tensors have no values.
"""

import copy
import io
import pickle

import pytest
import torch
from small_networks import NAMES, TRAINABLE, images, network, tensors_within

import lensequiv


def used(name):
    """A network that has filled its caches, of filters and of banded matrices."""
    model = network(name)
    with torch.no_grad():
        model(images(name, 2))
    return model


def equal(one, other):
    first, second = one.tensors(), other.tensors()
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value.cpu(), second[key].cpu()), key
    return True


def elsewhere(model, device):
    """What is not on the device, but for e2cnn's notes on how a basis was chosen."""
    return {
        path
        for path, tensor in tensors_within(model)
        if tensor.device != device and not path.endswith("._mask")
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINABLE)
def test_nothing_stays_behind(name, device):
    model = used(name)
    other = device if device.type != "cpu" else torch.device("meta")
    caches = {path for path, _ in tensors_within(model) if "._kept" in path}
    assert bool(caches) == (name != "resnet18")
    assert elsewhere(model, torch.device("cpu")) == set()
    assert elsewhere(model.to(other), other) == set()
    model.train()
    model(images(name, 2).to(other)).sum().backward()
    assert elsewhere(model, other) == set()
    assert elsewhere(model.eval().to_empty(device="cpu"), torch.device("cpu")) == set()


@pytest.mark.accelerator("that a card's memory is free again once a network left it")
@pytest.mark.parametrize("name", TRAINABLE)
def test_memory_of_the_card_is_free_again(name, device):
    if device.type != "cuda":
        pytest.skip("only CUDA tells how much memory is allocated")
    model, taken = used(name), []
    for _ in range(2):  # what cuBLAS takes for its work at first, it keeps
        model.to(device)
        with torch.no_grad():
            expected = model(images(name, 2).to(device)).cpu()
        model.to("cpu")
        taken.append(torch.cuda.memory_allocated(device))
    assert taken[1] == taken[0]
    with torch.no_grad():
        found = model(images(name, 2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_saved_on_one_device_and_loaded_on_the_other(name, device, tmp_path):
    there = network(name).to(device)
    loaded = lensequiv.from_pretrained(there.save_pretrained(tmp_path / "there"))
    assert equal(loaded, there)
    assert all(t.device.type == "cpu" for t in loaded.tensors().values())
    again = lensequiv.from_pretrained(loaded.save_pretrained(tmp_path / "here"))
    files = [(tmp_path / place / "model.safetensors") for place in ("there", "here")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert equal(again.to(device), there)


@pytest.mark.parametrize("name", TRAINABLE)
def test_state_dicts_pass_between_devices(name, device):
    there = network(name).to(device)
    with torch.no_grad():
        for parameter in there.parameters():
            parameter.mul_(1.5)
    here = network(name)
    here.load_state_dict(there.state_dict())
    assert equal(here, there)
    assert all(t.device.type == "cpu" for t in here.tensors().values())
    back = network(name).to(device)
    back.load_state_dict(here.state_dict())
    assert equal(back, there)
    assert all(t.device == device for t in back.tensors().values())


@pytest.mark.parametrize("name", TRAINABLE)
def test_copies_and_pickles_stay_on_the_device(name, device):
    model = network(name).to(device)
    model.head.requires_grad_(False)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for twin in twins:
        assert equal(twin, model)
        assert {t.device for _, t in tensors_within(twin.state_dict())} <= {
            device,
            torch.device("cpu"),  # the record
        }
        assert {p.device for p in twin.parameters()} == {device}
        assert not any(p.requires_grad for p in twin.head.parameters())
    with torch.no_grad():
        x = images(name, 2).to(device)
        torch.testing.assert_close(twins[0](x), twins[1](x), rtol=1e-5, atol=1e-6)


def test_torch_load_brings_a_whole_network_home(device):
    model = network("c8").to(device)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    home = torch.load(file, map_location="cpu", weights_only=False)
    assert {t.device.type for _, t in tensors_within(home)} == {"cpu"}
    assert equal(home, model)


def test_a_network_made_on_the_device_by_default(device):
    with torch.device(device):
        made = lensequiv.create_model("d4", stem_fields=2, stages=((2,), (2,)))
    assert elsewhere(made, device) == set()
