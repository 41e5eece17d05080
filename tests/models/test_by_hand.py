"""Networks with layers replaced, pruned or hooked give the answers of `model(x)`."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import lensequiv
from lensequiv.data import sample_paths

SMALL = {"stem_fields": 2, "stages": ((2,), (2,))}
IMAGES = np.stack([np.load(path) for path in sample_paths("modelJ")])


@pytest.fixture
def model():
    torch.manual_seed(6)
    return lensequiv.create_model("d4", **SMALL).eval()


@torch.no_grad()
def forward(model):
    """What the network itself says, without its plain form."""
    x = model.preprocess(torch.from_numpy(IMAGES).float()[:, None])
    return model(x).div(model.temperature).softmax(1)


def gelu(model):
    model.head[2] = nn.GELU()


def other_head(model):
    model.head = nn.Sequential(nn.Linear(model.head[0].in_features, 3))


def longer_head(model):
    model.head.append(nn.Tanh())


def hook(model):
    model.head[0].register_forward_pre_hook(lambda _, x: (x[0] * 3 + 1,))


def pruned(model):
    for module in model.modules():
        if isinstance(module, nn.Linear):
            prune.random_unstructured(module, "weight", 0.5)


@pytest.mark.parametrize("change", [gelu, other_head, longer_head, hook, pruned])
def test_predict_says_what_the_network_says(model, change):
    before = model.predict(IMAGES).probabilities
    change(model)
    found = model.predict(IMAGES).probabilities
    assert not torch.allclose(found, before, atol=1e-4)
    torch.testing.assert_close(found, forward(model), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("change", [gelu, other_head, longer_head])
def test_what_would_lose_the_new_layer_refuses(model, change, tmp_path):
    change(model)
    with pytest.raises(ValueError, match=r"could not be built again: head"):
        model.save_pretrained(tmp_path / "w")
    assert not list(tmp_path.iterdir())
    with pytest.raises(NotImplementedError, match="no plain form any more: head"):
        model.to_torch()
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled: head"):
            copied(model)
    with pytest.raises(TypeError, match=r"call model.eval\(\)"):
        model.train().predict(IMAGES)


@pytest.mark.parametrize("whole", [True, False])
def test_another_number_of_classes(model, whole):
    if whole:
        model.head = nn.Linear(model.head[0].in_features, 5)
    else:
        model.head[4] = nn.Linear(model.head[4].in_features, 5)
    with pytest.raises(ValueError, match="gives 5 logits, but has 3 classes"):
        model.predict(IMAGES)


def test_bfloat16_needs_the_plain_form(model):
    hook(model)
    with pytest.raises(NotImplementedError, match=r"head\.0 has a hook"):
        model.predict(IMAGES, precision="bf16")


def test_pruned_quantities():
    weight = lensequiv.from_pretrained("c8-modelJ")
    before = weight.predict(IMAGES, quantities=True).quantities.values
    pruned(weight.quantity_head)
    x = weight.preprocess(torch.from_numpy(IMAGES).float()[:, None])
    expected = weight.forward_quantities(x).detach()
    torch.testing.assert_close(
        weight.to_torch().quantiles(weight.embed(x)), expected, rtol=1e-4, atol=1e-4
    )
    found = weight.predict(IMAGES, quantities=True).quantities.values
    assert not np.allclose(found, before)


def test_synchronised_norms_are_the_same_layers(model):
    before = model.predict(IMAGES).probabilities
    model.head = nn.SyncBatchNorm.convert_sync_batchnorm(model.head)
    assert isinstance(model.head[1], nn.SyncBatchNorm)
    assert torch.equal(model.predict(IMAGES).probabilities, before)


def test_parametrised_layers_are_the_same_layers(model):
    nn.utils.parametrizations.weight_norm(model.head[0])
    torch.testing.assert_close(
        model.to_torch()(torch.ones(1, 1, 97, 97)), model(torch.ones(1, 1, 97, 97))
    )
