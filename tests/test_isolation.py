"""Models share nothing, and hold under torch's global settings."""

import copy
import multiprocessing
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

import lensequiv
from lensequiv.transforms import RandomPose, rotate

pytestmark = pytest.mark.slow

TINY = {"stem_fields": 2, "stem_kernel": 5, "stages": ((2,), (2,)), "kernel": 3}
NAMES = ("c4", "c4", "c8", "d4")
X = torch.rand(1, 1, 129, 129, generator=torch.Generator().manual_seed(0))


def build(name):
    return lensequiv.create_model(name, **(TINY if len(name) == 2 else {}))


def lively(model):
    """A model whose logits depend on the image."""
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.05 * torch.rand_like(value))
    return model.eval()


def train_step(model, x=X):
    model.train()
    loss = F.cross_entropy(model(torch.cat([x, x.flip(2)])), torch.tensor([0, 1]))
    loss.backward()
    assert all(
        bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None
    )
    torch.optim.SGD(model.parameters(), 0.1).step()


@torch.no_grad()
def answer(model, x=X):
    return model(x).clone()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = lively(build("c4"))
    return model.save_pretrained(tmp_path_factory.mktemp("model")), model


def cast_double(model):
    model.double()
    model(X.double())


def cast_bf16(model):
    model.bfloat16().train().eval()


def to_meta(model):
    model.to("meta")


def copy_and_change(model):
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            for value in other.state_dict().values():
                value.zero_()


def change_plain(model):
    plain = model.to_torch()
    with torch.no_grad():
        for value in plain.state_dict().values():
            value.zero_()


@pytest.mark.parametrize(
    "do", [cast_double, cast_bf16, to_meta, copy_and_change, change_plain, train_step]
)
def test_others_stay_bit_equal(do):
    models = [lively(build(name)) for name in NAMES]
    before = [answer(model) for model in models]
    for i, model in enumerate(models):
        do(model)
        for j in range(i + 1, len(models)):
            assert torch.equal(answer(models[j]), before[j]), (NAMES[i], NAMES[j])


def test_the_2021_network_and_the_zoo_share_nothing():
    old = lensequiv.create_model("singh2021-c4", initialize=False).eval()
    new = lively(build("c4"))
    before = answer(new)
    features = torch.rand(1, 256, 26, 26)
    single = old._pool(features)
    old.double()
    assert torch.equal(answer(new), before)
    double = old._pool(features.double())  # e2cnn's pooling makes float32 of it
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)
    new.bfloat16().eval()
    assert torch.equal(old._pool(features.double()), double)


def test_threads_that_train_cast_and_evaluate_do_not_meet():
    judge = lively(build("c4"))
    expected, found, failed = answer(judge), [], []

    def work(do):
        try:
            for _ in range(3):
                do()
        except Exception as error:
            failed.append(error)

    jobs = [
        lambda: found.append(answer(judge)),
        lambda: found.append(answer(judge)),
        lambda: train_step(build("c4")),
        lambda: cast_double(lively(build("c4"))),
        lambda: copy.deepcopy(judge).double(),
        lambda: judge.predict(X),
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(found) == 6 and all(torch.equal(one, expected) for one in found)


class Answers(Dataset):
    """Builds or takes along a model in the worker."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return 2

    def __getitem__(self, index):
        model = self.source
        if not isinstance(model, torch.nn.Module):
            model = lensequiv.from_pretrained(model)
        return answer(model)[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_load_and_receive_models(method, saved):
    folder, model = saved
    context = multiprocessing.get_context(method)
    for source in (folder, model):
        loader = DataLoader(
            Answers(source),
            batch_size=2,
            num_workers=1,
            multiprocessing_context=context,
        )
        (batch,) = loader
        torch.testing.assert_close(batch, answer(model).expand(2, -1))


SETTINGS = {
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta device": lambda: torch.device("meta"),
    "deterministic": lambda: deterministic(),
}


class default_dtype:  # noqa: N801
    def __init__(self, dtype):
        self.dtype = dtype

    def __enter__(self):
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_):
        torch.set_default_dtype(self.before)


class deterministic:  # noqa: N801
    def __enter__(self):
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *_):
        torch.use_deterministic_algorithms(False)


@pytest.fixture(params=SETTINGS)
def setting(request):
    return SETTINGS[request.param]


def test_loading_and_predicting_are_the_same_under_any_setting(setting, saved):
    folder, model = saved
    images = 100 * torch.rand(2, 150, 150)
    expected = model.predict(images)
    with setting():
        loaded = lensequiv.from_pretrained(folder)
        result = model.predict(images)
    for one in (result, loaded.predict(images)):
        assert one.logits.dtype == one.probabilities.dtype == torch.float32
        assert torch.equal(one.logits, expected.logits)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    assert torch.equal(answer(loaded), answer(model))
    train_step(loaded)  # created in inference mode, too
    x = X.clone().requires_grad_()
    loaded.eval()(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_plain_form_made_under_any_setting_is_the_same(setting, saved):
    _, model = saved
    with setting():
        plain, other = model.to_torch(), copy.deepcopy(model)
    assert torch.equal(answer(plain), answer(model.to_torch()))
    assert torch.equal(answer(other), answer(model))
    x = X.clone().requires_grad_()
    plain(x).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["c4", "d4"])
def test_created_under_any_setting_trains(setting, name):
    with setting():
        model = build(name)
    if setting is SETTINGS["meta device"]:
        assert {p.device.type for p in model.parameters()} == {"meta"}
        return
    dtype = next(model.parameters()).dtype
    train_step(model, X.to(dtype))
    assert answer(model.eval(), X.to(dtype)).isfinite().all()


def test_evaluation_mode_entered_under_autocast_or_inference_keeps_float32(saved):
    _, model = saved
    expected = answer(model)
    for name in ("autocast", "inference mode", "bfloat16"):
        other = copy.deepcopy(model).train()
        with SETTINGS[name]():
            other.eval()
        assert torch.equal(answer(other), expected), name
        x = X.clone().requires_grad_()
        other(x).sum().backward()


def test_transforms_are_the_same_under_any_setting(setting, saved):
    images = 100 * torch.rand(2, 1, 150, 150)
    pose, results = RandomPose(97), []
    for around in (torch.no_grad, setting):
        torch.manual_seed(3)
        if around is SETTINGS["meta device"]:
            continue  # nothing can be drawn there
        with around():
            results.append([pose(images), rotate(images, 30.0)])
            results[-1] += [saved[1].preprocess(images)]
    for one, other in zip(results[0], results[-1], strict=True):
        assert one.dtype == other.dtype == torch.float32 and torch.equal(one, other)
