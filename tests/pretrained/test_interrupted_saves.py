"""Saves that are killed, or that the disk has no room for."""

import errno
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

import lensequiv
from lensequiv.weights import _saving

pytestmark = pytest.mark.slow

OPTIONS = {"stem_fields": 1, "stem_kernel": 3, "stages": [[1], [1]], "kernel": 3}
FILES = {"model.safetensors", "config.json", "README.md"}


def numbered(number):
    model = lensequiv.create_model("c4", **OPTIONS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(number)
    model.weights_info = {"number": number}
    return model


def number_of(folder):
    """Of the model in a folder, whose weights and config agree."""
    model = lensequiv.from_pretrained(folder)
    number = model.weights_info["number"]
    assert all(bool((p == number).all()) for p in model.parameters())
    return number


def child(work):
    """Runs something in a forked process; returns its id."""
    if (process := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(1)  # without pytest's own clean-up
    return process


@pytest.mark.parametrize("at", range(6))
def test_a_save_cut_short_leaves_the_old_or_the_new_model(at, tmp_path, monkeypatch):
    """SIGKILL before or after each rename: nothing else changes the folder."""
    folder = numbered(1).save_pretrained(tmp_path / "model")
    calls, real = [], Path.replace
    after = at % 2  # killed just before, or just after

    def replace(self, target):
        calls.append(target)
        if len(calls) == at // 2 + 1:
            if after:
                real(self, target)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    _, status = os.waitpid(child(lambda: numbered(2).save_pretrained(folder)), 0)
    monkeypatch.undo()
    assert os.WTERMSIG(status) == signal.SIGKILL
    # The second rename, that of the config, is the moment at which the new one counts.
    assert number_of(folder) == (1 if at < 3 else 2)
    assert number_of(numbered(3).save_pretrained(folder)) == 3
    hidden = {path.name for path in folder.iterdir()} - FILES
    assert all(name.startswith(".") for name in hidden)  # only what was being written


@pytest.mark.parametrize("delay", [0.0, 0.017, 0.031, 0.053, 0.079, 0.11])
def test_killed_at_any_time(delay, tmp_path):
    folder, reports = tmp_path / "model", tmp_path / "reports"
    numbered(1).save_pretrained(folder)

    def save_on_and_on():
        for number in range(2, 100_000):
            numbered(number).save_pretrained(folder)
            reports.write_text(str(number))

    process = child(save_on_and_on)
    while not reports.exists():
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    # The one that was reported, or the one after it; the report may be cut short.
    said, found = int(reports.read_text() or 0), number_of(folder)
    assert found in (said, said + 1) or (said == 0 and found > 1)


@pytest.mark.parametrize(("limit", "name"), [(100, "model.safetensors"), (0, "model")])
def test_a_full_disk_leaves_the_old_model_and_nothing_else(limit, name, tmp_path):
    folder = numbered(1).save_pretrained(tmp_path / "model")
    model, reader, writer = numbered(2), *os.pipe()

    def save():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            model.save_pretrained(folder)
        except OSError as error:
            os.write(writer, str(error).encode())

    os.waitpid(child(save), 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        message = pipe.read()
    assert "File too large" in message and str(folder / name) in message
    assert number_of(folder) == 1
    assert {path.name for path in folder.iterdir()} == FILES


def test_no_room_for_the_config_leaves_the_old_model(tmp_path, monkeypatch):
    folder = numbered(1).save_pretrained(tmp_path / "model")
    original = _saving.write_atomically

    def write(path, content):
        if path.name == "config.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        original(path, content)

    monkeypatch.setattr(_saving, "write_atomically", write)
    with pytest.raises(OSError, match=r"No space left on device: .*config\.json"):
        numbered(2).save_pretrained(folder)
    assert number_of(folder) == 1
    assert {path.name for path in folder.iterdir()} == FILES


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    folder = numbered(1).save_pretrained(tmp_path / "model")
    folder.chmod(0o555)
    with pytest.raises(PermissionError, match=r"model\.safetensors"):
        numbered(2).save_pretrained(folder)
    assert number_of(folder) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.double(), "is torch.float64; weights are stored in torch.float32"),
        (lambda m: m.head[0].bias.data.fill_(torch.nan), "'head.0.bias' has NaN"),
        (lambda m: setattr(m, "classes", ("a", "a", "b")), "'a' stands there twice"),
        (lambda m: setattr(m, "classes", ("a", "b")), "2 class names; expected 3"),
        (lambda m: setattr(m.preprocess, "size", 64), "images of 64 x 64 pixels"),
        (lambda m: setattr(m, "weights_info", {"x": torch.nan}), "not JSON compliant"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(change, message, tmp_path):
    folder = numbered(1).save_pretrained(tmp_path / "model")
    model = numbered(2)
    with pytest.raises(ValueError, match=message):
        change(model)  # which the record refuses at once, where it can
        model.save_pretrained(folder)
    assert number_of(folder) == 1
