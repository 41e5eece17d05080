"""Loading from the Hub, and its words, over HTTP with the real client."""

import dataclasses
import pickle

import pytest
import torch
from hub_helpers import NAME, fetches, logits, tiny
from hub_server import READ, Fault

import lensequiv
from lensequiv.pretrained import Origin

WEIGHTS = "model.safetensors"


def test_default_branch(hub, tmp_path):
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    assert torch.equal(logits(model), hub.right) and not model.training
    sha256 = model.origin.sha256
    assert model.origin == Origin("hub", NAME, sha256, None, hub.second)
    assert str(model.origin) == f"{NAME}@{hub.second}"
    assert (tmp_path / "models--lens-group--tiny" / "blobs" / sha256).is_file()


@pytest.mark.parametrize("how", ["tag", "commit"])
def test_revision(hub, tmp_path, tiny_files, how):
    revision = {"tag": "v1", "commit": hub.first}[how]
    model = lensequiv.from_pretrained(NAME, revision=revision, cache_dir=tmp_path)
    assert torch.equal(logits(model), tiny_files[1][1])
    assert (model.origin.revision, model.origin.commit) == (revision, hub.first)


def test_second_load_asks_for_the_branch_alone_and_a_commit_for_nothing(hub, tmp_path):
    lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    hub.requests.clear()
    lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    assert [r.method for r in hub.requests] == ["HEAD"]
    hub.requests.clear()
    lensequiv.from_pretrained(NAME, cache_dir=tmp_path, revision=hub.second)
    assert hub.requests == []


def test_only_config_and_weights_are_fetched(hub, tmp_path):
    hub.repos[NAME].commit({"evil.py": b"raise SystemExit", "big.bin": bytes(1000)})
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    found = {path.name for path in tmp_path.rglob(f"*{model.origin.commit}/*")}
    assert found == {"config.json", WEIGHTS}


def test_push_between_two_downloads_does_not_mix_files(hub, tmp_path, tiny_files):
    """The branch moves after the config was fetched."""
    repo, before = hub.repos[NAME], hub.second

    def push(response):
        repo.commit(tiny_files[1][0], "third")

    hub.faults.append(Fault(fetches("config.json", "GET"), push, 1))
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    assert torch.equal(logits(model), hub.right) and model.origin.commit == before
    newer = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    assert torch.equal(logits(newer), tiny_files[1][1])
    assert newer.origin.commit == repo.refs["main"] != before


@pytest.mark.slow
def test_new_head_keeps_the_origin(hub, tmp_path):
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path, num_classes=5)
    assert model.num_classes == 5 and model.origin.commit == hub.second
    folder = model.save_pretrained(tmp_path / "tuned")
    info = lensequiv.from_pretrained(folder).weights_info
    sha256 = model.origin.sha256
    expected = {"weights": f"{NAME}@{hub.second}", "sha256": sha256}
    assert info["started_from"] == expected
    card = (folder / "README.md").read_text()
    assert f"`{NAME}@{hub.second}` (sha256 `{sha256}`)" in card


def test_unchanged_weights_are_saved_as_they_came(hub, tmp_path, tiny_files):
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    folder = model.save_pretrained(tmp_path / "copy")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == tiny_files[0][0]
    assert lensequiv.from_pretrained(folder).origin.name == str(folder)


def test_origin_of_bundled_weights_and_of_none():
    bundled = lensequiv.from_pretrained("c8-modelF")
    assert bundled.origin.source == "bundled" and bundled.origin.name == "c8-modelF"
    assert bundled.origin.sha256 == lensequiv.pretrained_info("c8-modelF")["sha256"]
    assert bundled.origin.commit is None
    assert lensequiv.create_model("c4").origin is None


def test_origin_is_frozen_and_pickles_with_the_model(hub, tmp_path):
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    assert pickle.loads(pickle.dumps(model)).origin == model.origin
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.origin.commit = "other"


def test_token_goes_to_the_hub_and_not_to_the_store_of_large_files(hub, tmp_path):
    hub.repos[NAME].private = True
    with pytest.raises(lensequiv.HubError, match="for a private one give a token="):
        lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    hub.requests.clear()
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path, token=READ)
    assert torch.equal(logits(model), hub.right)
    for request in hub.requests:
        if request.path.startswith("/cdn/"):
            assert request.token == ""
        elif request.path.startswith(f"/{NAME}"):
            assert request.token == READ


def test_gated_repository(hub, tmp_path):
    hub.repos[NAME].gated = True
    with pytest.raises(lensequiv.HubError, match="granted by its owner: ask on its"):
        lensequiv.from_pretrained(NAME, cache_dir=tmp_path, token=READ)


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        (
            "nobody/nothing",
            None,
            r"nobody/nothing: no config.json: the Hub has no such",
        ),
        ("runs/mine", None, r"nor is there a folder 'runs/mine' here"),
        (NAME, "v9", r"at revision 'v9': no config.json: there is no revision 'v9'"),
        (NAME, "0" * 40, r"there is no revision '0{40}'.*full commit hashes"),
    ],
)
def test_what_the_hub_does_not_have(hub, tmp_path, name, revision, message):
    with pytest.raises(lensequiv.HubError, match=message):
        lensequiv.from_pretrained(name, revision=revision, cache_dir=tmp_path)


@pytest.mark.parametrize("file", ["config.json", WEIGHTS])
def test_repository_of_something_else(hub, tmp_path, tiny_files, file):
    files = {n: c for n, c in tiny_files[0][0].items() if n != file}
    hub.repos[NAME].commit(files, keep=False)
    message = f"no {file}: the repository has no such file, so it holds no weights of"
    with pytest.raises(lensequiv.HubError, match=message):
        lensequiv.from_pretrained(NAME, cache_dir=tmp_path)


def test_files_of_two_models_in_one_commit(hub, tmp_path, tiny_files):
    """The Hub's own mistake: no download mends it, and the message says so."""
    hub.repos[NAME].commit({WEIGHTS: tiny_files[1][0][WEIGHTS]})
    message = f"belongs to another config.*{NAME}@.*tell its owner"
    for force in (False, True):
        with pytest.raises(lensequiv.WeightsError, match=message):
            lensequiv.from_pretrained(NAME, cache_dir=tmp_path, force_download=force)


@pytest.mark.parametrize("file", ["config.json", WEIGHTS])
def test_file_changed_in_the_cache_is_named(hub, tmp_path, file):
    lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    (path,) = tmp_path.rglob(f"snapshots/*/{file}")
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    for offline in (True, False):
        with pytest.raises(lensequiv.WeightsError) as error:
            lensequiv.from_pretrained(
                NAME, cache_dir=tmp_path, local_files_only=offline
            )
        assert str(path) in str(error.value)
        assert "force_download=True (lensequiv download --force)" in str(error.value)
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path, force_download=True)
    assert torch.equal(logits(model), hub.right)


def test_cache_without_links(hub, tmp_path, monkeypatch):
    """As on Windows: copies, of which only the weights are verified."""
    target = "huggingface_hub.file_download.are_symlinks_supported"
    monkeypatch.setattr(target, lambda *_: False)
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    assert torch.equal(logits(model), hub.right)
    (path,) = tmp_path.rglob(f"snapshots/*/{WEIGHTS}")
    assert not path.is_symlink()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(lensequiv.WeightsError, match="force_download=True"):
        lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path, force_download=True)
    assert torch.equal(logits(model), hub.right)


def test_offline_from_the_cache(hub, tmp_path):
    with pytest.raises(lensequiv.HubError) as error:
        lensequiv.from_pretrained(NAME, cache_dir=tmp_path, local_files_only=True)
    for part in (f"not in the cache {tmp_path}", "lensequiv download", "offline.md"):
        assert part in str(error.value)
    assert hub.requests == []
    lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    hub.requests.clear()
    for revision in (None, "main", hub.second):
        model = lensequiv.from_pretrained(
            NAME, revision=revision, cache_dir=tmp_path, local_files_only=True
        )
        assert torch.equal(logits(model), hub.right)
        assert model.origin.commit == hub.second
    assert hub.requests == []
    with pytest.raises(
        lensequiv.HubError, match=r"'v1': no config\.json: it is not in"
    ):
        lensequiv.from_pretrained(
            NAME, revision="v1", cache_dir=tmp_path, local_files_only=True
        )


def test_default_cache_and_hf_hub_offline(hub, monkeypatch):
    lensequiv.from_pretrained(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert torch.equal(logits(lensequiv.from_pretrained(NAME)), hub.right)
    with pytest.raises(lensequiv.HubError, match="HF_HUB_OFFLINE forbids to fetch it"):
        lensequiv.from_pretrained(NAME, revision="v1")
    with pytest.raises(lensequiv.HubError, match="force_download=True exclude each"):
        lensequiv.from_pretrained(NAME, force_download=True)
    with pytest.raises(lensequiv.HubError, match="HF_HUB_OFFLINE forbids the network"):
        tiny(0).push_to_hub("lens-group/new")


def test_hub_down_loads_what_the_cache_knows(hub, tmp_path):
    lensequiv.from_pretrained(NAME, cache_dir=tmp_path)

    def down(response):
        response.status, response.headers, response.body = 503, {}, b""

    hub.faults.append(Fault(lambda request: True, down))
    model = lensequiv.from_pretrained(NAME, cache_dir=tmp_path)
    assert torch.equal(logits(model), hub.right) and model.origin.commit == hub.second


GIVEN = {
    "revision": "v1",
    "cache_dir": "there",
    "token": "hf_x",
    "local_files_only": True,
    "force_download": True,
}


@pytest.mark.parametrize("keyword", GIVEN)
def test_keywords_of_the_hub_are_refused_elsewhere(tmp_path, keyword):
    given = {keyword: GIVEN[keyword]}
    with pytest.raises(ValueError, match=f"{keyword}= is for the Hugging Face Hub"):
        lensequiv.from_pretrained("c8-modelF", **given)
    with pytest.raises(ValueError, match=f"{keyword}= .*a folder here"):
        lensequiv.from_pretrained(tmp_path, **given)


def test_a_folder_goes_before_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny(3).save_pretrained(tmp_path / NAME)
    model = lensequiv.from_pretrained(NAME)
    assert model.origin.source == "folder"
    with pytest.raises(ValueError, match="which goes before the Hub"):
        lensequiv.from_pretrained(NAME, revision="v1")
    assert hub.requests == []


@pytest.mark.parametrize(
    "name",
    ["c8-modelX", "./runs/mine", "/tmp/nowhere", "a/b/c", "", "-a/b", "a/b-", "a b/c"],
)
def test_other_names_never_reach_the_hub(hub, name):
    with pytest.raises(ValueError, match="nor of the form owner/name") as error:
        lensequiv.from_pretrained(name)
    assert ("did you mean 'c8-modelJ' or 'c8-modelF'?" in str(error.value)) == (
        name == "c8-modelX"
    )
    assert hub.requests == []


def test_a_path_is_always_a_folder(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="nor an existing folder"):
        lensequiv.from_pretrained(type(tmp_path)(NAME))
    assert hub.requests == []


@pytest.mark.parametrize("name", ["a--b/c", "a/b..c"])
def test_names_the_client_refuses(hub, name):
    with pytest.raises(lensequiv.HubError, match=r"no config\.json: .*repo_?id"):
        lensequiv.from_pretrained(name)


def test_force_without_network_is_refused(hub):
    with pytest.raises(ValueError, match="force_download=True: choose one"):
        lensequiv.from_pretrained(NAME, local_files_only=True, force_download=True)
