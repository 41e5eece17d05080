"""Reading files of torch.save: nothing is run, whatever is wrong is named."""

import io
import pickle
import random
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from lensequiv import WeightsError
from lensequiv.weights._torch_file import read_state_dict

STATE = OrderedDict(a=torch.arange(400.0), b=torch.eye(20), n=torch.tensor(3))


def saved(path, value, legacy=False):
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def equal(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[key], right[key]) for key in left
    )


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats(tmp_path, legacy):
    state, notes = read_state_dict(saved(tmp_path / "x.pt", STATE, legacy))
    assert equal(state, STATE) and notes == []


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_a_graphics_card(tmp_path, legacy, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    path = saved(tmp_path / "x.pt", STATE, legacy)
    assert b"cuda:0" in path.read_bytes()
    assert equal(read_state_dict(path)[0], STATE)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_dictionary_around_is_taken_off(tmp_path, key):
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict()
    around = {"epoch": 3, key: STATE, "optimizer_state_dict": optimizer}
    state, notes = read_state_dict(saved(tmp_path / "x.pt", around))
    assert equal(state, STATE)
    assert notes == [f"state dict taken from key {key!r}"]


def test_data_parallel_prefix_is_taken_off(tmp_path):
    prefixed = {f"module.{key}": value for key, value in STATE.items()}
    state, notes = read_state_dict(saved(tmp_path / "x.pt", {"net": prefixed}))
    assert equal(state, STATE) and len(notes) == 2
    assert notes[1].startswith("'module.' (DataParallel)")
    some = {"module.a": STATE["a"], "b": STATE["b"]}
    assert equal(read_state_dict(saved(tmp_path / "x.pt", some))[0], some)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"model": STATE, "ema": STATE}, r"2 state dicts, under \['model', 'ema'\]"),
        ({"epoch": 3, "loss": 0.1}, "no state dict, but {'epoch': int, 'loss': float}"),
        ({**STATE, "epoch": 3}, "no state dict, but {'a': Tensor"),
        ({}, "no state dict"),
        ({3: torch.ones(1)}, "no state dict, but {'3': Tensor}"),
        (torch.ones(2), "holds a Tensor; expected a state dict"),
        ([STATE], "holds a list"),
        ({"a": torch.eye(2).to_sparse()}, "'a' is torch.sparse_coo on cpu"),
        ({"a": torch.ones(2, device="meta")}, "'a' is torch.strided on meta"),
    ],
)
def test_what_is_no_state_dict(tmp_path, value, message):
    path = saved(tmp_path / "x.pt", value)
    with pytest.raises(WeightsError, match=message):
        read_state_dict(path)


# Code


class Payload:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


class OwnNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


def hostile(kind, path, marker):
    payload = Payload(marker)
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps({"a": payload}, protocol=int(kind[-1])))
    elif kind in ("zip", "legacy"):
        saved(path, {**STATE, "c": payload}, legacy=kind == "legacy")
    elif kind == "appended":  # to a good file, as one more object
        path.write_bytes(pickle.dumps(payload) + saved(path, STATE).read_bytes())
    else:  # a tar file whose first name looks like a pickle
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for name in ("\udc80\x02pickle", "pickle", "storages", "tensors"):
                content = pickle.dumps(payload, protocol=2)
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        assert path.read_bytes()[:1] == b"\x80"
    return path


KINDS = [f"pickle{p}" for p in range(6)] + ["zip", "legacy", "appended", "tar"]


@pytest.mark.parametrize("kind", KINDS)
def test_code_is_never_run(tmp_path, kind):
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # the payload works
    marker.unlink()
    message = refusal(hostile(kind, tmp_path / "x.pt", marker))
    assert not marker.exists()
    if kind in ("zip", "legacy"):
        assert "could run code; it was refused and nothing was run" in message
        assert "Path" in message or "getattr" in message
    if kind == "tar":
        assert "is a tar file" in message


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(2, 2)), OwnNetwork()])
def test_whole_models(tmp_path, model, legacy):
    message = refusal(saved(tmp_path / "x.pt", model, legacy))
    assert "a whole model (its class is " in message
    assert type(model).__name__ in message and "save model.state_dict()" in message


# Damage


@pytest.mark.parametrize("legacy", [False, True])
def test_cut_anywhere(tmp_path, legacy):
    content = saved(tmp_path / "x.pt", STATE, legacy).read_bytes()
    path = tmp_path / "cut.pt"
    for length in sorted({*range(1, 40), *range(40, len(content), 97)}):
        path.write_bytes(content[:length])
        message = refusal(path)
        assert "cut short" in message or "not a file of torch.save" in message


def test_flipped_bits_are_seen_or_do_not_matter(tmp_path):
    """In the zip format; the older one has no checksums."""
    content = saved(tmp_path / "x.pt", STATE).read_bytes()
    path, draw, refused = tmp_path / "flipped.pt", random.Random(0), 0
    for _ in range(300):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            assert equal(read_state_dict(path)[0], STATE)
        except WeightsError:
            refused += 1
    assert refused > 150


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x93NUMPY\x01\x00", r"it begins with b'\\x93NUM'"),
        (b"{}      {}", "is not a file of torch.save"),
        (b"PK\x03\x04 and nothing", "cut short or damaged"),
        (b"\x80\x02}.", "not a file of torch.save"),
        (pickle.dumps(3), "not a file of torch.save"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_state_dict(path)


def test_other_zip_files(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no pickle here")
    assert "not a file of torch.save" in refusal(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError):
        read_state_dict(tmp_path)
