"""Full disks, caches that cannot be written, and several processes at once."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hub_helpers import NAME, logits

import lensequiv

NOBODY = 65534


def load(cache, **kwargs):
    return logits(lensequiv.from_pretrained(NAME, cache_dir=cache, **kwargs))


@pytest.mark.parametrize("room", [0, 1, 100, 1000, 5000])
def test_disk_full(hub, tmp_path, room):
    """A limit on the size of files stands in for the end of the disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, old[1]))
    try:
        with pytest.raises(lensequiv.HubError, match="no space left to write") as error:
            load(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert str(tmp_path) in str(error.value) and "cache_dir= or HF_HOME" in str(
        error.value
    )
    assert torch.equal(load(tmp_path), hub.right)
    assert torch.equal(load(tmp_path, local_files_only=True), hub.right)


def test_file_where_the_cache_should_be(hub, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(lensequiv.HubError, match=r"cannot be written.*cache_dir="):
        load(tmp_path / "cache")


@pytest.fixture
def open_folder():
    """A folder that other users can reach, too."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def as_user():
    """Root may write everywhere: be somebody else for a while."""
    user = os.geteuid()

    def become(run):
        if user == 0:
            os.seteuid(NOBODY)
        try:
            return run()
        finally:
            os.seteuid(user)

    return become


def test_read_only_cache(hub, open_folder, as_user):
    cache = open_folder / "cache"
    load(cache)
    for path in (cache, *cache.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
    for kwargs in ({}, {"revision": hub.second}, {"local_files_only": True}):
        found = as_user(lambda kwargs=kwargs: load(cache, **kwargs))
        assert torch.equal(found, hub.right)
    for kwargs in ({"revision": "v1"}, {"force_download": True}):
        with pytest.raises(lensequiv.HubError, match=r"cannot be written.*HF_HOME"):
            as_user(lambda kwargs=kwargs: load(cache, **kwargs))
    assert torch.equal(load(cache, local_files_only=True), hub.right)


def test_read_only_empty_cache(hub, open_folder, as_user):
    open_folder.chmod(0o555)
    with pytest.raises(lensequiv.HubError, match=r"cannot be written.*HF_HOME"):
        as_user(lambda: load(open_folder / "cache"))


# Processes that set their environment before the client is imported, forked from one
# that has imported all else.
CLIENTS = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from hub_helpers import NAME, Tiny, logits
from lensequiv.models import _builders
_builders._BUILDERS["tests-tiny"] = Tiny
import lensequiv
assert "huggingface_hub" not in sys.modules

def start(name, **env):
    if child := os.fork():
        return child
    os.environ.update(env)
    try:
        model = lensequiv.from_pretrained(NAME)
        text = f"{{logits(model).flatten().tolist()}} {{model.origin.commit}}"
    except lensequiv.HubError as error:
        text = f"HubError {{error}}"
    os.write(1, f"{{name}} {{text}}\\n".encode())
    os._exit(0)

home = {{"HF_HOME": sys.argv[1]}}
for child in [start("first", **home), start("second", **home)]:
    os.waitpid(child, 0)
os.environ["HF_HUB_OFFLINE"] = "1"
for child in [start("offline", **home), start("empty", HF_HOME=sys.argv[2])]:
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_processes_at_once_and_the_environment(hub, tmp_path):
    """Two download and load at once; then one is offline, one has an empty cache."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENTS, tmp_path / "home", tmp_path / "empty"],
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    right = f"{hub.right.flatten().tolist()} {hub.second}"
    nothing = said.pop("empty")
    assert said == {"first": right, "second": right, "offline": right}
    assert nothing.startswith("HubError") and "HF_HUB_OFFLINE forbids" in nothing
    heads = [r for r in hub.requests if r.method == "HEAD"]
    assert len(heads) in (2, 3, 4)  # none of the last two processes
    assert list((tmp_path / "home").rglob("*.incomplete")) == []
