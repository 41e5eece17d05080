"""State dicts carry the record."""

import copy
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import lensequiv
from lensequiv.models._recorded import STATE_KEY

TINY = {"stem_fields": 1, "stem_kernel": 3, "stages": [[1], [1]]}
X = torch.rand(2, 150, 150)


@pytest.fixture(scope="module")
def published():
    return lensequiv.from_pretrained("c8-modelF@1")


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    model = lensequiv.create_model("c4", num_classes=2, **TINY).set_input_size(33)
    model.classes, model.temperature, model.pixel_scale = ("a", "b"), 2.0, 0.1
    return model.eval()


def fresh(**options):
    return lensequiv.create_model("c4", **{"num_classes": 2, **TINY, **options}).eval()


def assert_same(model, other):
    ours, theirs = model.predict(X), other.predict(X)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.probabilities, theirs.probabilities)
    assert ours.classes == theirs.classes
    assert model.spec.to_config() == other.spec.to_config()


@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
def test_a_published_weight_answers_as_loaded(published):
    model = lensequiv.create_model("c8")
    model.load_state_dict(published.state_dict())
    assert_same(model.eval(), published)
    ours, theirs = (m.predict(X).ood_score for m in (model, published))
    assert torch.equal(ours, theirs)
    assert model.origin == published.origin and model.pixel_scale == 0.05


@pytest.mark.parametrize("assign", [False, True])
def test_assigned_or_copied(tiny, assign):
    model = fresh()
    model.load_state_dict(tiny.state_dict(), assign=assign)
    assert_same(model, tiny)


def test_files(tiny, tmp_path):
    torch.save(tiny.state_dict(), tmp_path / "a.pt")
    safetensors.torch.save_file(tiny.state_dict(), tmp_path / "a.safetensors")
    safetensors.torch.save_model(tiny, tmp_path / "b.safetensors")
    one, two, three = fresh(), fresh(), fresh()
    one.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    two.load_state_dict(safetensors.torch.load_file(tmp_path / "a.safetensors"))
    safetensors.torch.load_model(three, tmp_path / "b.safetensors")
    for model in (one, two, three):
        assert_same(model, tiny)


def test_accelerate(tiny, tmp_path):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    accelerator.save_state(accelerator.prepare(tiny) and tmp_path / "state")
    other = Accelerator(cpu=True)
    model = other.prepare(fresh())
    other.load_state(tmp_path / "state")
    assert_same(model.eval(), tiny)


@pytest.mark.parametrize("use_buffers", [False, True])
def test_averaged_model(tiny, use_buffers):
    average = AveragedModel(tiny, use_buffers=use_buffers)
    average.update_parameters(tiny)
    average.update_parameters(tiny)
    assert_same(average.module.eval(), tiny)
    again = AveragedModel(fresh())
    again.load_state_dict(average.state_dict())
    assert_same(again.module.eval(), tiny)


def test_wrapped(tiny):
    parallel = nn.DataParallel(fresh())
    parallel.load_state_dict(nn.DataParallel(tiny).state_dict())
    assert_same(parallel.module, tiny)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_mean_of_equal_records_is_the_record(tiny, count):
    states = [copy.deepcopy(tiny.state_dict()) for _ in range(count)]
    mean = {k: sum(s[k] for s in states) / count for k in states[0]}
    model = fresh()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_state_dict(mean)
    assert model.spec.to_config() == tiny.spec.to_config()


@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16, torch.float64])
def test_cast_states(tiny, cast):
    model = fresh()
    model.load_state_dict({k: v.to(cast) for k, v in tiny.state_dict().items()})
    assert model.spec.to_config() == tiny.spec.to_config()


def test_the_mean_of_different_records_is_noticed(tiny):
    other = copy.deepcopy(tiny)
    other.temperature = 3.0
    one, two = tiny.state_dict(), other.state_dict()
    mean = {k: (one[k] + two[k]) / 2 for k in one}
    model = fresh()
    with pytest.warns(UserWarning, match=r"damaged '_extra_state' .*averaged") as seen:
        model.load_state_dict(mean)
    assert len(seen) == 1
    assert model.temperature == 1.0 and model.classes == ("class0", "class1")
    assert torch.equal(model.head[0].weight, tiny.head[0].weight)


def test_models_of_different_information_can_be_averaged():
    states = [
        lensequiv.from_pretrained(name).state_dict()
        for name in ("c8-modelF", "c8-modelJ")
    ]
    assert states[0][STATE_KEY].shape == states[1][STATE_KEY].shape


@pytest.mark.parametrize("strict", [True, False])
def test_without_a_record(tiny, strict):
    model = fresh()
    with pytest.warns(UserWarning, match="has no '_extra_state'.*input size") as seen:
        found = model.load_state_dict(tiny.tensors(), strict=strict)
    assert len(seen) == 1 and not found.missing_keys and not found.unexpected_keys
    assert model.temperature == 1.0 and model.input_size == 129
    assert torch.equal(model.head[0].weight, tiny.head[0].weight)


def test_missing_tensors_stay_errors(tiny):
    state = tiny.state_dict()
    del state["stem.conv.weights"]
    with (
        pytest.raises(RuntimeError, match=r'Missing key.*"stem.conv.weights"'),
        pytest.warns(UserWarning, match="lacks tensors"),
    ):
        fresh().load_state_dict(state)


@pytest.mark.parametrize("delete_head", [True, False])
def test_a_body_alone_brings_its_images_along(tiny, delete_head):
    state = tiny.state_dict()
    for name in list(state):
        if name.startswith("head."):
            del state[name]
    model = fresh(num_classes=5) if delete_head else fresh()
    model.load_state_dict(state, strict=False)
    assert (model.input_size, model.preprocess.size, model.pixel_scale) == (33, 33, 0.1)
    assert model.temperature == 1.0 and model.classes[0] == "class0"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("d4", {}, "state dict of the network c4; expected one of d4"),
        ("c4", {"contrast_sigma": 2.0}, r"c4, contrast_sigma=3.0; .* c4, contrast_.*2"),
        ("c4", {"statistics": ["mean", "max"]}, "statistics"),
        ("c4", {"stages": [[1], [2]]}, "stages"),
    ],
)
def test_another_network_is_refused(tiny, name, options, message):
    model = lensequiv.create_model(name, **{"num_classes": 2, **TINY, **options})
    before = copy.deepcopy(model.tensors())
    for strict in (True, False):
        with pytest.raises(RuntimeError, match=message):
            model.load_state_dict(tiny.state_dict(), strict=strict)
    assert all(torch.equal(v, before[k]) for k, v in model.tensors().items())


def test_another_dropout_or_head_is_not_another_network(tiny):
    model = fresh(dropout=0.5)
    model.load_state_dict(tiny.state_dict())
    assert model.config["dropout"] == 0.5 and model.classes == ("a", "b")
    with pytest.raises(RuntimeError, match="size mismatch for head"):
        fresh(num_classes=3).load_state_dict(tiny.state_dict())


def test_a_newer_record_is_refused(tiny, monkeypatch):
    monkeypatch.setattr("lensequiv.spec._spec.WITHOUT_MAP", 6)
    state = tiny.state_dict()
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="format 6; this lensequiv reads formats 1"):
        fresh().load_state_dict(state)


def test_preprocessing_of_ones_own_stays_and_is_said(tiny):
    tiny.preprocess = torch.nn.Identity()
    model = fresh()
    with pytest.warns(UserWarning, match="preprocessing of its user's own"):
        model.load_state_dict(tiny.state_dict())
    assert model.classes == ("a", "b") and model.preprocess.size == 129


def test_saved_weights_do_not_hold_it(tiny, tmp_path):
    folder = tiny.save_pretrained(tmp_path)
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    assert stored.keys() == tiny.tensors().keys() and STATE_KEY not in stored


def test_a_head_that_tells_quantities_comes_along():
    """As docs/finetuning.md makes a twin, of a weight that has such a head."""
    weight = lensequiv.from_pretrained("c8-modelJ")
    twin = lensequiv.create_model("c8", **weight.config)
    twin.load_state_dict(weight.state_dict())
    assert twin.quantities_spec == weight.quantities_spec
    ours, theirs = (m.eval().predict(X, quantities=True) for m in (weight, twin))
    assert np.array_equal(ours.quantities.values, theirs.quantities.values)
    assert torch.equal(ours.logits, theirs.logits)
