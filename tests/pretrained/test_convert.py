"""Conversion of checkpoints that e2cnn 0.1.7 wrote (fixtures_2021/README.md)."""

import itertools
import json
import lzma
import re
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import lensequiv
from lensequiv import WeightsError, convert_checkpoint
from lensequiv.cli import main
from lensequiv.models.singh2021 import Singh2021
from lensequiv.pretrained import _study2021, model_card
from lensequiv.transforms import Singh2021Eval

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).with_name("fixtures_2021")
GROUPS = ("c4", "c8", "d4", "d8")
FIELDS = [2, 2, 2, 2, 2, 1]


@cache
def content(name):
    return lzma.decompress((FIXTURES / f"{name}.pt.xz").read_bytes())


@pytest.fixture
def fixture(tmp_path):
    """The file of a name like "c4-eval"."""

    def write(name):
        path = tmp_path / f"{name}.pt"
        path.write_bytes(content(name))
        return path

    return write


@pytest.fixture
def state(fixture):
    """The tensors of "c4-eval", to be changed."""
    return torch.load(fixture("c4-eval"), weights_only=True)


@pytest.fixture
def convert(tmp_path):
    """Converts a file, or a state dict after saving it."""

    def run(source, group="c4", **options):
        if not isinstance(source, Path):
            torch.save(source, tmp_path / "changed.pt", **options)
            source = tmp_path / "changed.pt"
        out = tmp_path / "out"
        return convert_checkpoint(source, group, "modelF", out, fields=FIELDS)

    return run


@pytest.fixture
def refuses(convert, tmp_path):
    """The message with which a file or state dict is refused, leaving nothing."""

    def run(source, group="c4"):
        with pytest.raises(WeightsError) as caught:
            convert(source, group)
        assert not [p for p in tmp_path.iterdir() if p.suffix != ".pt"]
        return str(caught.value).removeprefix(f"{tmp_path}/")

    return run


def checksum(conversion):
    return json.loads((conversion.directory / "config.json").read_text())["sha256"]


@cache
def plain_checksum(folder):
    path = folder / "plain.pt"
    path.write_bytes(content("c4-eval"))
    out = folder / "plain"
    return checksum(convert_checkpoint(path, "c4", "modelF", out, fields=FIELDS))


@pytest.fixture
def reference(tmp_path_factory):
    """Checksum of the weights that the unchanged "c4-eval" becomes."""
    return plain_checksum(tmp_path_factory.getbasetemp())


# What is accepted


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("group", GROUPS)
def test_logits_are_those_of_e2cnn_017(group, mode, fixture, convert):
    conversion = convert(fixture(f"{group}-{mode}"), group)
    model = lensequiv.from_pretrained(conversion.directory)
    saved = np.load(FIXTURES / f"{group}-logits.npz")
    with torch.no_grad():
        logits = model(torch.from_numpy(saved["levels"]).float()[:, None] / 255)
    expected = torch.from_numpy(saved["logits"])
    assert expected.std(0).min() > 0.01  # the two images are told apart
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    if mode == "eval":
        assert conversion.filter_difference <= 1e-6
        assert "6 expanded filters: equal" in str(conversion)
    else:
        assert conversion.filter_difference is None
        assert "no expanded filters in the file" in str(conversion)


def test_what_is_recorded(fixture, convert):
    path = fixture("c8-eval")
    conversion = convert(path, "C8")
    model = lensequiv.from_pretrained(conversion.directory)
    assert model.name == "singh2021-c8" and model.classes == ("no", "sphere", "vort")
    assert model.preprocess.to_config() == Singh2021Eval().to_config()
    info = model.weights_info["converted"]
    assert info == conversion.info
    assert info["file"] == "c8-eval.pt" and info["group"] == "c8"
    assert info["recipe"] == "modelF" and "trained on modelF" in str(conversion)
    assert re.fullmatch("[0-9a-f]{64}", info["sha256"])
    assert "training images and their seed" in info["unknown"]
    assert info["checked"][0].startswith("69 tensors")
    card = (conversion.directory / "README.md").read_text()
    config = json.loads((conversion.directory / "config.json").read_text())
    assert card == model_card(config)
    assert info["sha256"] in card and "## Limits" in card
    assert "re-simulated" not in card and "license: unknown" in card
    assert conversion.directory.stat().st_mode & 0o777 == 0o755


def test_result_predicts(fixture, convert):
    model = lensequiv.from_pretrained(convert(fixture("c4-train")).directory)
    images = 30 + 800 * torch.rand(2, 150, 150)
    with torch.no_grad():
        expected = model(Singh2021Eval()(images[:, None]))
    assert torch.allclose(model.predict(images).logits, expected, atol=1e-4)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_modes_and_formats_give_the_same_weights(
    mode, legacy, state, convert, reference
):
    if mode == "train":
        filters, state = _study2021.split_filters(state)
        assert len(filters) == 6
    conversion = convert(state, _use_new_zipfile_serialization=not legacy)
    assert checksum(conversion) == reference


def test_wrapped_and_prefixed(state, convert, reference):
    prefixed = {f"module.{name}": value for name, value in state.items()}
    conversion = convert({"epoch": 3, "model_state_dict": prefixed})
    assert checksum(conversion) == reference
    assert conversion.info["checked"][:2] == [
        "state dict taken from key 'model_state_dict'",
        "'module.' (DataParallel) taken off every name",
    ]


def test_saved_on_a_graphics_card(state, convert, reference, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    assert checksum(convert(state)) == reference


# Other networks


@pytest.mark.parametrize(("held", "asked"), list(itertools.permutations(GROUPS, 2)))
def test_another_group_is_named(held, asked, fixture, refuses):
    assert refuses(fixture(f"{held}-train"), asked) == (
        f"{held}-train.pt is a network of group {held}, by its batch norms and basis; "
        f"you asked for {asked}"
    )


@pytest.mark.parametrize("held", ["c6", "d3"])
def test_another_order_is_named(held, refuses):
    learned, fixed = _study2021.study_tensors(Singh2021(held, fields=FIELDS))
    message = refuses({**learned, **fixed})
    assert f"is a network of group {held}" in message
    assert message.endswith("you asked for c4, and the study had c4, c8, d4, d8")


@pytest.mark.parametrize("asked", ["c4", "c8"])
def test_128_pixel_variant_of_2023(state, refuses, asked):
    state["block1.0.mask"] = torch.ones(1, 1, 128, 128)
    state["fully_net.0.weight"] = torch.zeros(64, 40000)
    message = refuses(state, asked)
    assert "the variant of the 2023 follow-up for 128 x 128 pixels" in message
    assert "its group is c4, though its code calls it C8" in message


def test_resnet(refuses):
    message = refuses(torchvision.models.resnet18(num_classes=3).state_dict())
    assert message.endswith(
        "is a ResNet with torchvision's names; expected the steerable network "
        "singh2021-c4"
    )


def test_another_network_of_ours(refuses):
    message = refuses(lensequiv.create_model("c4").tensors())
    assert "is no network of the 2021 study: its" in message
    assert "begin with 'stem.conv.weights'" in message


def test_width_is_checked(fixture, tmp_path):
    path = fixture("c4-eval")
    with pytest.raises(WeightsError, match=r"expected \(432,\) torch.float32"):
        convert_checkpoint(path, "c4", "modelF", tmp_path / "out")


# One wrong tensor

# A name for each kind of tensor: blocks have the same names but for their number.
KINDS = (
    "block1.0.mask",
    "block1.1._basisexpansion.block_expansion_('irrep_0', 'regular').sampled_basis",
    "block5.0._basisexpansion.block_expansion_('regular', 'regular').sampled_basis",
    "block1.1.weights",
    "block6.0.weights",
    "block1.1.filter",
    "block4.0.filter",
    "block3.1.indices_4",
    "block2.1.batch_norm_[4].weight",
    "block2.1.batch_norm_[4].bias",
    "block2.1.batch_norm_[4].running_mean",
    "block2.1.batch_norm_[4].running_var",
    "block2.1.batch_norm_[4].num_batches_tracked",
    "pool1.0.filter",
    "pool3.filter",
    "gpool.in_indices_4",
    "gpool.out_indices_4",
    "fully_net.0.weight",
    "fully_net.1.running_var",
    "fully_net.1.num_batches_tracked",
    "fully_net.3.bias",
)


def removed(state, name):
    del state[name]


def renamed(state, name):
    state[f"{name}s"] = state.pop(name)


def reshaped(state, name):
    state[name] = torch.cat([state[name].flatten()] * 2)


def halved(state, name):
    kind = torch.half if state[name].is_floating_point() else torch.int32
    state[name] = state[name].to(kind)


def spoiled(state, name):
    """A NaN, or an impossible count or index."""
    bad = float("nan") if state[name].is_floating_point() else -1
    state[name] = state[name].clone()
    state[name].view(-1)[0] = bad


@pytest.mark.slow
@pytest.mark.parametrize("change", [removed, renamed, reshaped, halved, spoiled])
@pytest.mark.parametrize("name", KINDS)
def test_a_changed_tensor_is_named(change, name, state, refuses):
    change(state, name)
    message = refuses(state)
    named = [repr(name), repr(f"{name}s"), "no network of the 2021 study"]
    assert any(text in message for text in named), message


@pytest.mark.parametrize("name", [n for n in KINDS if "basis" in n or "pool" in n])
def test_another_basis_or_filter_is_refused(name, state, refuses):
    state[name] = state[name] + (1 if state[name].dtype == torch.int64 else 1e-3)
    message = refuses(state)
    assert repr(name) in message and "follows from the architecture alone" in message


def test_extra_tensor(state, refuses):
    assert "unexpected tensor 'x'" in refuses({**state, "x": torch.ones(1)})


def test_infinite_and_negative_values(state, refuses):
    state["fully_net.3.bias"][1] = torch.inf
    assert "'fully_net.3.bias' has NaN or infinite values" in refuses(state)
    state["fully_net.3.bias"][1] = 0
    state["fully_net.1.running_var"][5] = -1
    assert "'fully_net.1.running_var' has negative values" in refuses(state)


# Filters


def test_filters_of_another_step_are_refused(state, refuses):
    """Every weight moved by 5e-4, half a per cent of their spread."""
    weights = state["block5.0.weights"]
    step = 5e-4 * torch.randn_like(weights).sign()
    state["block5.0.weights"] = weights + step
    message = refuses(state)
    assert "the filter 'block5.0.filter' differs from the one its weights" in message


def test_filters_never_expanded_are_refused(state, refuses):
    """As e2cnn holds them between construction and the first eval()."""
    state["block1.1.filter"].zero_()
    assert "'block1.1.filter' differs" in refuses(state)


def test_filters_rounded_on_a_graphics_card_are_accepted(state, convert, reference):
    for name, tensor in state.items():
        if name.endswith("filter") and name.startswith("block"):
            bits = tensor.view(torch.int32)
            bits += 0x1000 - (bits + 0x1000) % 0x2000  # TF32 keeps 10 bits of 23
    conversion = convert(state)
    assert checksum(conversion) == reference
    assert 1e-5 < conversion.filter_difference < 1e-3


# The folder that is written


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_exists_is_kept(kind, fixture, convert, tmp_path):
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    else:
        out.write_text("mine")
    with pytest.raises(FileExistsError, match="out exists; expected a new or empty"):
        convert(fixture("c4-train"))
    assert (out / "notes.txt" if kind == "folder" else out).read_text() == "mine"


def test_empty_folder_is_filled(fixture, convert, tmp_path):
    (tmp_path / "out").mkdir()
    convert(fixture("c4-train"))
    assert lensequiv.from_pretrained(tmp_path / "out").name == "singh2021-c4"


@pytest.mark.parametrize(
    ("group", "recipe", "message"),
    [
        ("c6", "modelF", "group 'c6': the 2021 study had c4, c8, d4, d8"),
        ("c4", "F", "recipe 'F': expected modelF or modelJ"),
    ],
)
def test_unknown_group_and_recipe(group, recipe, message, fixture, tmp_path):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(fixture("c4-train"), group, recipe, tmp_path / "out")


# Files are put in place by `replace`, the folder last: a child is killed at each call.
_KILLED = """
import os, pathlib, signal, sys
import lensequiv
replace = pathlib.Path.replace
for at in range(1, 7):
    calls = 0
    def counted(self, target):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)
    pathlib.Path.replace = counted
    out = pathlib.Path(sys.argv[2], str(at))
    child = os.fork()
    if child == 0:
        fields = [2, 2, 2, 2, 2, 1]
        lensequiv.convert_checkpoint(sys.argv[1], "c4", "modelF", out, fields=fields)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), out.exists())
"""


@pytest.mark.slow
def test_a_kill_leaves_no_folder_or_all_of_it(fixture, tmp_path):
    path = fixture("c4-train")
    argv = [sys.executable, "-c", _KILLED, str(path), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    killed = f"{-signal.SIGKILL} False"
    assert done.stdout.splitlines() == [*[killed] * 5, "0 True"], done.stderr
    assert len(list(tmp_path.glob(".?.*"))) == 5  # each had begun
    assert lensequiv.from_pretrained(tmp_path / "6").name == "singh2021-c4"
    convert_checkpoint(path, "c4", "modelF", tmp_path / "1", fields=FIELDS)


# The command


@pytest.mark.parametrize("said", [["--recipe", "modelJ"], ["--model", "J"]])
def test_command(fixture, tmp_path, capsys, said):
    path, out = fixture("d4-eval"), tmp_path / "out"
    argv = ["convert", str(path), "--group", "d4", *said, str(out)]
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("lensequiv convert: ") and not captured.out
    assert captured.err.count("\n") == 1 and not out.exists()
    assert main([*argv, "--fields", *map(str, FIELDS)]) == 0
    printed = capsys.readouterr().out
    assert "trained on modelJ" in printed and f"weights in {out}" in printed
    assert lensequiv.from_pretrained(out).name == "singh2021-d4"
