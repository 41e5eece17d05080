import sys
import time

import pytest
from hub_helpers import NAME, facts, files_of, logits, register, tiny
from hub_server import Hub, Repo


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory):
    """Files, logits and facts of two models that differ in their weights alone."""
    out = []
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        for seed in (0, 1):
            model = tiny(seed)
            files = files_of(model, tmp_path_factory.mktemp("tiny") / "weights")
            out.append((files, logits(model), facts(model)))
    return out


@pytest.fixture
def hub(monkeypatch, tmp_path, tiny_files):
    """A local Hub that huggingface_hub talks to, with a repository of two commits."""
    pytest.importorskip("huggingface_hub.hf_api")
    register(monkeypatch)
    server = Hub()
    repo = server.repos[NAME] = Repo()
    server.first = repo.commit(tiny_files[1][0], "first")
    repo.refs["v1"] = server.first
    server.second = repo.commit(tiny_files[0][0], "second")
    _, server.right, server.facts = tiny_files[0]
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    settings = {
        "ENDPOINT": server.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(tmp_path / "default-cache"),
        "HF_TOKEN_PATH": "/nonexistent/token",
        "HF_HUB_DISABLE_XET": True,
    }
    # Old releases of the client import these names into each of their modules.
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "huggingface_hub":
            for key, value in settings.items():
                if key in vars(module):
                    monkeypatch.setattr(module, key, value)
    for key in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(key, raising=False)
    # The client waits between its attempts.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield server
    server.close()
