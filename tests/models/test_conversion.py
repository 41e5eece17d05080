"""`to_torch`: the same logits, exportable, and nothing but torch to run it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.plain import load_plain

NAMES = (
    "c4",
    "c8",
    "d4",
    "d8",
    "so2",
    "o2",
    "resnet18",
    "singh2021-c4",
    "singh2021-d4",
)
NEW = {"stem_stride": 2, "activation": "gelu", "isotropic": True}
NEW |= {"disc": True, "turns": 2, "own_noise": True}
SMALL = {"stem_fields": 2, "stages": ((2,), (2, 2), (3,))}
SLIM_2021 = {"fields": (4, 6, 6, 8, 8, 6)}  # the same layers in a tenth of the time


def lived_in(model, size=129):
    """A model whose batch norms have seen data: folding is not trivial then."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "norm" in name or "bn" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, model.in_channels, size, size))
    return model.eval()


@pytest.fixture(scope="module")
def small():
    return lived_in(lensequiv.create_model("d4", **SMALL), 97)


def assert_same_logits(model, plain, x, tolerance=1e-5):
    with torch.no_grad():
        expected, found = model(x), plain(x)
    scale = expected.abs().max()
    assert scale > 1e-3
    assert (found - expected).abs().max() <= tolerance * scale


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_logits_agree(name):
    slim = SLIM_2021 if name.startswith("singh2021") else {}
    model = lived_in(lensequiv.create_model(name, num_classes=4, **slim))
    plain = model.to_torch()
    x = torch.randn(3, 1, 129, 129)
    assert_same_logits(model, plain, x)
    with torch.no_grad():
        logits, embedding = plain.logits_and_embedding(x)
        assert torch.equal(logits, plain(x))
        expected = model.embed(x)
    assert (embedding - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not plain.training
    assert not any(p.requires_grad for p in plain.parameters())
    modules = {type(m).__module__ for m in plain.modules()}
    assert all(m.startswith(("torch.", "lensequiv.plain")) for m in modules)


@pytest.mark.parametrize("group", ["c8", "o2"])
@pytest.mark.parametrize("statistics", [("mean", "std"), ("max", "mean")])
def test_every_option_agrees(group, statistics):
    options = {**SMALL, **NEW, "pool_sigma": 1.1, "statistics": statistics}
    model = lived_in(lensequiv.create_model(group, **options), 97)
    assert_same_logits(model, model.to_torch(), torch.randn(3, 1, 97, 97))


@pytest.mark.slow
@pytest.mark.parametrize("name", lensequiv.list_pretrained())
def test_trained_weights_agree(name):
    model = lensequiv.from_pretrained(name)
    x = torch.stack(
        [
            model.preprocess(torch.from_numpy(lensequiv.data.read_image(p)))
            for p in lensequiv.data.sample_paths()
        ]
    )
    assert_same_logits(model, model.to_torch(), x)


@pytest.mark.parametrize("size", [33, 97, 257])
def test_every_size_and_any_channels(size):
    model = lived_in(lensequiv.create_model("c8", in_channels=2, **SMALL), 97)
    assert_same_logits(model, model.to_torch(), torch.randn(2, 2, size, size))


def test_invariance_survives(small):
    plain = small.to_torch()
    x = torch.randn(2, 1, 129, 129)
    with torch.no_grad():
        reference = plain(x)
        for turned in (x.rot90(1, (2, 3)), x.flip(3)):
            difference = (plain(turned) - reference).abs().max()
            assert difference < 1e-5 * reference.abs().max()


def test_mode_is_kept_and_memory_is_not_shared(small):
    model = lived_in(lensequiv.create_model("c4", **SMALL), 97).train()
    plain = model.to_torch()
    assert model.training
    before = [p.clone() for p in plain.state_dict().values()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    for a, b in zip(before, plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_config_describes_it(small):
    config = small.to_torch().config
    assert config["classes"] == ["no", "sphere", "vort"]
    assert config["model"] == "d4"
    assert config["input_sizes"] == list(small.input_sizes.range)
    assert config["preprocess"] == small.preprocess.to_config()


def test_bf16_convolutions(small):
    plain = small.to_torch().bfloat16_convolutions()
    x = torch.randn(4, 1, 129, 129)
    with torch.no_grad():
        found, expected = plain(x), small(x)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_save_and_load(small, tmp_path):
    plain = small.to_torch()
    path = plain.save(tmp_path / "plain.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["plain.pt"]
    loaded = load_plain(path)
    assert loaded.config == plain.config
    assert loaded.classes == ("no", "sphere", "vort")
    x = torch.randn(2, 1, 97, 97)
    assert torch.equal(loaded(x), plain(x))
    half = plain.bfloat16_convolutions()
    again = load_plain(half.save(path))
    assert again[1].conv.weight.dtype == torch.bfloat16
    assert torch.equal(again(x), half(x))


def test_files_of_before_have_no_embedding(small, tmp_path):
    plain = small.to_torch()
    for key in ("embedding", "temperature"):
        del plain.config[key]
    loaded = load_plain(plain.save(tmp_path / "plain.pt"))
    x = torch.randn(1, 1, 97, 97)
    with pytest.raises(ValueError, match="does not say where its embedding is"):
        loaded.logits_and_embedding(x)
    assert torch.equal(loaded.probabilities(x), plain(x).softmax(1))


@pytest.mark.slow
def test_loading_needs_torch_alone(small, tmp_path):
    """In a process that can import nothing of ours but a copy of this folder."""
    x = torch.randn(2, 1, 97, 97)
    plain = small.to_torch()
    plain.save(tmp_path / "plain.pt")
    torch.save({"x": x, "y": plain(x)}, tmp_path / "xy.pt")
    shutil.copytree(Path(lensequiv.plain.__file__).parent, tmp_path / "alone")
    code = """
import sys
for name in ("e2cnn", "lensequiv", "torchvision", "safetensors", "huggingface_hub"):
    sys.modules[name] = None
import alone
import torch
xy = torch.load("xy.pt", weights_only=True)
model = alone.load_plain("plain.pt")
assert (model(xy["x"]) - xy["y"]).abs().max() <= 1e-5 * xy["y"].abs().max()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c | {"format": 99}, "expected format 1"),
        (lambda c: {"a": 1}, "expected format 1"),
        (lambda c: c | {"config": "{"}, "is not a saved PlainModel"),
        (lambda c: c | {"config": '{"layers": [{"layer": "x"}]}'}, "unknown layer 'x'"),
        (lambda c: c | {"state": {}}, "Missing key"),
        (
            lambda c: c | {"state": c["state"] | {"1.conv.bias": torch.zeros(2)}},
            "size mismatch for 1.conv.bias",
        ),
        (
            lambda c: c | {"state": c["state"] | {"more": torch.zeros(2)}},
            "Unexpected key",
        ),
    ],
)
def test_other_files_are_refused(small, tmp_path, damage, message):
    path = small.to_torch().save(tmp_path / "plain.pt")
    content = torch.load(path, weights_only=True)
    torch.save(damage(content), path)
    with pytest.raises(ValueError, match=message) as error:
        load_plain(path)
    assert str(path) in str(error.value)


def test_damaged_and_missing_files(small, tmp_path):
    path = small.to_torch().save(tmp_path / "plain.pt")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is not a saved PlainModel"):
        load_plain(path)
    with pytest.raises(FileNotFoundError):
        load_plain(tmp_path / "none.pt")


def test_no_plain_form():
    class Other(lensequiv.models.LensNetwork):
        pass

    model = Other(1, 3, lensequiv.models.InputSizes(33, 1, 129))
    with pytest.raises(NotImplementedError, match="Other has no plain form"):
        model.to_torch()


# What deployments do with it


def deployed(name):
    """The plain form: of a small network where there is one; "new" has all options."""
    options = SMALL if name in ("c8", "so2", "new") else {}
    if name == "new":
        name, options = "c8", SMALL | NEW
    if name.startswith("singh2021"):
        options = SLIM_2021
    return lived_in(lensequiv.create_model(name, **options)).to_torch()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c8", "so2", "new", "singh2021-c4", "resnet18"])
def test_export(name):
    plain = deployed(name)
    x = torch.randn(2, 1, 129, 129)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(plain, (x,), dynamic_shapes=({0: batch},))
    assert_same_logits(plain, exported.module(), torch.randn(5, 1, 129, 129))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c8", "so2", "new", "singh2021-c4"])
def test_compile_without_graph_breaks(name):
    """The graph is captured whole; eager execution of it needs no compiler."""
    plain = deployed(name)
    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager")
    assert_same_logits(plain, compiled, torch.randn(2, 1, 129, 129))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c8", "so2", "new", "singh2021-c4", "resnet18"])
def test_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    plain = deployed(name)
    x = torch.randn(2, 1, 129, 129)
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        plain,
        (x,),
        path,
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path)
    for n in (2, 5):
        x = torch.randn(n, 1, 129, 129)
        (found,) = session.run(None, {"images": x.numpy()})
        expected = plain(x).numpy()
        scale = np.abs(expected).max()
        assert np.abs(found - expected).max() < 1e-4 * scale


# Sizes


@pytest.mark.parametrize("side", [32, 128, 150, 273])
@pytest.mark.parametrize("method", ["forward", "probabilities", "logits_and_embedding"])
def test_sizes_that_the_network_refuses_are_refused(small, side, method):
    x = torch.rand(1, 1, side, side)
    with pytest.raises(ValueError, match="input of") as expected:
        small(x)
    with pytest.raises(ValueError, match="input of") as found:
        getattr(small.to_torch(), method)(x)
    for error in (expected, found):
        message = str(error.value)
        assert f"input of {side} x {side} pixels; raw images go first" in message
        assert "model.preprocess" in message
        assert "a square with a side of 33, 49, ..., 257; nearest to" in message
    ends = [str(error.value).rpartition(";")[2] for error in (expected, found)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.rand(1, 1, 97, 113), ValueError, "97 x 113 pixels"),
        (torch.rand(1, 97, 97), ValueError, r"shape \(1, 97, 97\)"),
        (torch.rand(1, 3, 97, 97), ValueError, r"expected \(N, 1, H, W\)"),
        (torch.ones(1, 1, 97, 97, dtype=torch.int16), TypeError, "torch.int16, so not"),
        (np.ones((1, 1, 97, 97), np.float32), TypeError, "type ndarray"),
    ],
)
def test_other_inputs_are_refused_by_both(small, x, error, message):
    for network in (small, small.to_torch()):
        with pytest.raises(error, match=message) as caught:
            network(x)
        assert "model.preprocess" in str(caught.value)


def test_one_size_alone():
    plain = lived_in(lensequiv.create_model("singh2021-c4", fields=[1] * 6)).to_torch()
    plain(torch.rand(1, 1, 129, 129))
    with pytest.raises(ValueError, match="a side of 129; nearest to 150: 129"):
        plain(torch.rand(1, 1, 150, 150))


def test_files_of_before_without_sizes_still_run(small, tmp_path):
    plain = small.to_torch()
    x = torch.rand(1, 1, 97, 97)
    expected = plain(x)
    for key in ("input_sizes", "in_channels", "model"):
        del plain.config[key]
    loaded = load_plain(plain.save(tmp_path / "plain.pt"))
    assert torch.equal(loaded(x), expected)
    assert loaded(torch.rand(1, 1, 100, 100)).shape == (1, 3)
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        loaded(x[0])


@pytest.mark.slow
def test_export_with_the_side_left_open(small):
    side = 16 * torch.export.Dim("k", min=2, max=16) + 1
    plain, x = small.to_torch(), torch.rand(2, 1, 97, 97)
    exported = torch.export.export(plain, (x,), dynamic_shapes=({2: side, 3: side},))
    assert_same_logits(plain, exported.module(), torch.rand(2, 1, 129, 129))
    with pytest.raises(Exception, match=r"150|divisible|16"):
        exported.module()(torch.rand(2, 1, 150, 150))


@pytest.mark.slow
def test_compiled_for_many_sizes(small):
    plain = small.to_torch()
    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager")
    for side in (33, 49, 129):  # from the second on, the side is left open
        assert_same_logits(plain, compiled, torch.rand(1, 1, side, side))
    with pytest.raises(Exception, match="exception"):
        compiled(torch.rand(1, 1, 150, 150))


def test_multiply_adds_are_those_of_the_layers():
    model = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (3,)), kernel=3)
    model.set_input_size(33)
    # Local contrast and antialiased pooling: products with matrices, twice each.
    filters = 33**3 * 2 + 8 * (5 * 9 * 9 + 5 * 9 * 5)
    stem, first, second = 8 * 15**2 * 81, 8 * 8 * 9 * 81, 8 * 12 * 9 * 25
    head = 6 * 64 + 64 * 3
    assert model.multiply_adds() == filters + stem + first + second + head
    assert model.multiply_adds(65) > 3 * model.multiply_adds(33)
