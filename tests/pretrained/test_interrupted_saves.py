"""Saves that are killed, or that the disk has no room for."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import lensequiv
from lensequiv.pretrained import _saving

OPTIONS = {"stem_fields": 1, "stem_kernel": 3, "stages": [[1], [1]], "kernel": 3}
FILES = {"model.safetensors", "config.json", "README.md"}

# Saves models whose weights are all equal to their number, one after the other.
LOOP = """
import sys, torch, lensequiv
model = lensequiv.create_model("c4", **{options})
for number in range(1, 100_000):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(number)
    model.weights_info = {{"number": number}}
    model.save_pretrained(sys.argv[1])
    print(number, flush=True)
"""


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


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches Exception sees it."""


@pytest.mark.parametrize("at", range(6))
def test_a_save_cut_short_leaves_the_old_or_the_new_model(at, tmp_path, monkeypatch):
    """At each step that changes the folder: three renames with, three without cleanup."""
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
    if (child := os.fork()) == 0:  # SIGKILL runs no cleanup at all
        numbered(2).save_pretrained(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    monkeypatch.undo()
    assert os.WTERMSIG(status) == signal.SIGKILL
    # The second rename, that of the config, is the moment at which the new one counts.
    assert number_of(folder) == (1 if at < 3 else 2)
    assert number_of(numbered(3).save_pretrained(folder)) == 3
    hidden = {path.name for path in folder.iterdir()} - FILES
    assert all(name.startswith(".") for name in hidden)  # only what was being written


def test_killed_at_any_time(tmp_path):
    folder = tmp_path / "model"
    last = number_of(numbered(0.5).save_pretrained(folder))
    program = LOOP.format(options=OPTIONS)
    for delay in (0.0, 0.013, 0.029, 0.061):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE
        )
        said = int(process.stdout.readline())
        time.sleep(delay)
        process.kill()
        printed = process.stdout.read().split()
        process.wait()
        said = int(printed[-1]) if printed else said
        # The one that was reported, or the one that was being written.
        last = number_of(folder)
        assert last in (said, said + 1)


def full_disk(folder, limit):
    """Saves in a process whose files cannot grow beyond a size."""
    program = (
        "import resource, sys, lensequiv\n"
        f"model = lensequiv.create_model('c4', **{OPTIONS})\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "model.save_pretrained(sys.argv[1])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True
    )


@pytest.mark.parametrize(("limit", "name"), [(100, "model.safetensors"), (0, "model")])
def test_a_full_disk_leaves_the_old_model_and_nothing_else(limit, name, tmp_path):
    folder = numbered(1).save_pretrained(tmp_path / "model")
    result = full_disk(folder, limit)
    assert result.returncode == 1
    (message,) = [line for line in result.stderr.splitlines() if "OSError" in line]
    assert str(folder / name) in message
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
    change(model)
    with pytest.raises(ValueError, match=message):
        model.save_pretrained(folder)
    assert number_of(folder) == 1


def test_resource_limits_are_what_makes_it_fail():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
