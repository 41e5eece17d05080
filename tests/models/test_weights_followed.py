"""Networks answer after their weights, in every mode and by every way."""

import copy
import pickle

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import lensequiv

SMALL = {"stem_fields": 2, "stages": ((2,), (2, 2), (3,))}
X = torch.rand(2, 1, 97, 97, generator=torch.Generator().manual_seed(0))


def small():
    return lensequiv.create_model("d4", **SMALL).eval()


def moved(model):
    """As an exponential average's loop does it, unseen by version counters."""
    for parameter in model.parameters():
        parameter.data.mul_(0.9).add_(0.1 * torch.rand_like(parameter))
    return model


def assert_all_agree(model):
    twin = small()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = twin(X)
        assert torch.equal(model(X), expected)
        assert torch.equal(model.head(model.embed(X)), expected)
        assert torch.equal(copy.deepcopy(model)(X), expected)
        assert torch.equal(pickle.loads(pickle.dumps(model))(X), expected)
        close = {"rtol": 1e-5, "atol": 1e-6 * float(expected.abs().max())}
        torch.testing.assert_close(model.to_torch()(X), expected, **close)
    with torch.inference_mode():
        assert torch.equal(model(X), expected)
    assert torch.equal(model(X).detach(), expected)
    return expected


@pytest.mark.slow
def test_every_way_to_the_logits_follows_the_weights(tmp_path):
    model = small()
    before = assert_all_agree(model)
    after = assert_all_agree(moved(model))
    assert (after - before).abs().max() > 1e-3
    loaded = lensequiv.from_pretrained(model.save_pretrained(tmp_path / "w"))
    with torch.no_grad():
        assert torch.equal(loaded(X), after)
    paths = lensequiv.data.sample_paths("modelF")[:2]
    found, expected = model.predict(paths), loaded.predict(paths)
    assert torch.equal(found.logits, expected.logits)


@pytest.mark.slow
@pytest.mark.parametrize("use_buffers", [False, True])
def test_averaged_model(use_buffers):
    model = small()
    averaged = AveragedModel(
        model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=use_buffers
    ).eval()
    with torch.no_grad():
        before = averaged(X)
    model.train()
    for _ in range(2):
        averaged.update_parameters(moved(model))
    after = assert_all_agree(averaged.module)
    assert (after - before).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["c8-modelJ", "resnet18"])
def test_fine_tuning_in_evaluation_mode_trains_every_layer(weights):
    """docs/finetuning.md without `.train()`."""
    if weights == "resnet18":
        model = lensequiv.create_model("resnet18").eval()
    else:
        model = lensequiv.from_pretrained(weights, classes=["a", "b", "c"])
        model.freeze()
        model.unfreeze()
    assert not model.training
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0)
    torch.nn.functional.cross_entropy(model(X), torch.tensor([0, 1])).backward()
    optimizer.step()
    kept = [k for k, v in model.named_parameters() if torch.equal(v, before[k])]
    assert kept == []


def test_a_frozen_body_stays_as_it_is():
    model = small().freeze().train()
    model(X).sum().backward()
    assert all(
        (parameter.grad is not None) == name.startswith("head.")
        for name, parameter in model.named_parameters()
    )


@pytest.mark.skipif(
    torch.__version__ < (2, 5), reason="torch 2.4 compiles training networks in parts"
)
@pytest.mark.slow
def test_compiled_network_follows_its_weights():
    model = small()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        before = compiled(X)
        torch.testing.assert_close(before, model(X))
        moved(model)
        torch.testing.assert_close(compiled(X), model(X))
        assert (compiled(X) - before).abs().max() > 1e-3
    compiled(X).sum().backward()
    assert model.stem.conv.weights.grad.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["c8-modelF", "resnet18"])
def test_networks_of_other_types_predict(name, dtype):
    if name == "resnet18":
        model = lensequiv.create_model("resnet18").eval()
    else:
        model = lensequiv.from_pretrained(name)
    paths = lensequiv.data.sample_paths("modelF")[:2]
    expected = model.predict(paths).logits
    found = model.to(dtype).predict(paths)
    assert found.logits.dtype == found.probabilities.dtype == torch.float32
    tolerance = {torch.float16: 0.01, torch.bfloat16: 0.05, torch.float64: 1e-5}
    scale = expected.abs().max()
    assert (found.logits - expected).abs().max() < tolerance[dtype] * scale
    with torch.no_grad():
        logits = model(torch.rand(1, 1, 129, 129))  # single precision, as from files
    assert logits.dtype == dtype


def test_meta_device_gives_shapes():
    assert small().to("meta")(X.to("meta")).shape == (2, 3)
