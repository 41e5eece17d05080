import json

import pytest
import torch
from hub_helpers import NAME, fetches, logits, tiny
from hub_server import READ, Fault

import lensequiv
from lensequiv.cli import main
from lensequiv.pretrained import download_pretrained

FILES = {"README.md", "config.json", "model.safetensors", "origin.json"}


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_from_the_hub_by_the_command(hub, tmp_path, capsys, monkeypatch):
    out, cache = tmp_path / "new" / "weights", tmp_path / "cache"
    argv = ["download", NAME, str(out), "--revision", "v1", "--cache-dir", str(cache)]
    hub.repos[NAME].private = True
    assert main(argv) == 1 and not out.exists()
    assert "for a private one give a token=" in capsys.readouterr().err
    assert main([*argv, "--token", READ]) == 0
    assert f"{NAME}@{hub.first} (sha256 " in capsys.readouterr().out
    assert names(out) == FILES and names(out.parent) == {"weights"}
    hub.close()
    model = lensequiv.from_pretrained(out)
    assert (model.origin.source, model.origin.name) == ("hub", NAME)
    assert (model.origin.revision, model.origin.commit) == ("v1", hub.first)
    # What is trained from it says where it started.
    model.head.bias.data += 1
    tuned = lensequiv.from_pretrained(model.save_pretrained(tmp_path / "tuned"))
    assert tuned.weights_info["started_from"]["weights"] == f"{NAME}@{hub.first}"


def test_bundled(tmp_path, capsys):
    out = tmp_path / "weights"
    assert main(["download", "c8-modelF", str(out)]) == 0
    assert "c8-modelF (sha256 " in capsys.readouterr().out
    assert lensequiv.from_pretrained(out).origin.name == "c8-modelF"
    assert main(["download", "c8-modelF", str(out), "--revision", "x"]) == 1
    assert "revision= is for the Hugging Face Hub only" in capsys.readouterr().err


def test_repository_without_a_card(hub, tmp_path, tiny_files):
    files = {n: c for n, c in tiny_files[0][0].items() if n != "README.md"}
    hub.repos[NAME].commit(files, keep=False)
    download_pretrained(NAME, tmp_path / "a", cache_dir=tmp_path / "cache")
    assert names(tmp_path / "a") == FILES - {"README.md"}


def test_card_that_fails_to_come_is_an_error(hub, tmp_path):
    def fail(response):
        response.status, response.headers, response.body = 500, {}, b""

    hub.faults.append(Fault(fetches("README.md", "HEAD"), fail))
    with pytest.raises(
        lensequiv.HubError, match=r"no README\.md: the Hub is in trouble"
    ):
        download_pretrained(NAME, tmp_path / "a", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "a").exists()


def test_existing_folders(hub, tmp_path):
    out = tmp_path / "weights"
    out.mkdir()
    for _ in range(2):  # an empty one, and one with the same weights
        download_pretrained(NAME, out)
        assert torch.equal(logits(lensequiv.from_pretrained(out)), hub.right)
    with pytest.raises(FileExistsError, match="holds other weights"):
        download_pretrained(NAME, out, revision="v1")
    assert torch.equal(logits(lensequiv.from_pretrained(out)), hub.right)
    download_pretrained(NAME, out, revision="v1", force=True)
    assert lensequiv.from_pretrained(out).origin.commit == hub.first
    (out / "notes.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(FileExistsError, match=r"holds 'notes\.txt', which is not"):
            download_pretrained(NAME, out, force=force)
    with pytest.raises(NotADirectoryError, match="is a file"):
        download_pretrained(NAME, out / "notes.txt")
    assert lensequiv.from_pretrained(out).origin.commit == hub.first


def test_damaged_folder_is_replaced_by_force_alone(hub, tmp_path):
    out = tmp_path / "weights"
    out.mkdir()
    (out / "config.json").write_text("{")
    with pytest.raises(FileExistsError, match=r"no weights that load.*--force"):
        download_pretrained(NAME, out)
    download_pretrained(NAME, out, force=True)
    assert torch.equal(logits(lensequiv.from_pretrained(out)), hub.right)


def test_damage_in_the_cache_is_mended_by_force(hub, tmp_path):
    cache, out = tmp_path / "cache", tmp_path / "weights"
    download_pretrained(NAME, out, cache_dir=cache)
    (path,) = cache.rglob("snapshots/*/model.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(lensequiv.WeightsError, match="lensequiv download --force"):
        download_pretrained(NAME, tmp_path / "b", cache_dir=cache)
    assert names(tmp_path) == {"cache", "weights"}
    download_pretrained(NAME, tmp_path / "b", cache_dir=cache, force=True)
    assert names(tmp_path / "b") == FILES


def test_folder_as_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lens-group" / "tiny").mkdir(parents=True)
    with pytest.raises(ValueError, match="is a folder here already"):
        download_pretrained(NAME, tmp_path / "out")


def test_a_write_that_fails_leaves_nothing(hub, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("lensequiv.pretrained._download.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        download_pretrained(NAME, tmp_path / "out", cache_dir=tmp_path / "cache")
    assert names(tmp_path) == {"cache"}


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "[]",
        "{}",
        '{"name": 1, "sha256": "a", "revision": 0, "commit": 0}',
        '{"source": "x", "name": "", "sha256": "", "revision": null, "commit": null}',
    ],
)
def test_record_that_is_none(hub, tmp_path, record):
    folder = tiny(0).save_pretrained(tmp_path)
    (folder / "origin.json").write_text(record)
    with pytest.raises(lensequiv.WeightsError, match=r"origin\.json is not what"):
        lensequiv.from_pretrained(folder)


def test_record_of_other_weights_is_passed_over(hub, tmp_path):
    out = tmp_path / "weights"
    download_pretrained(NAME, out)
    tiny(7).save_pretrained(out)
    assert json.loads((out / "origin.json").read_text())["name"] == NAME
    assert lensequiv.from_pretrained(out).origin.name == str(out)


def test_predict_takes_an_id(hub, capsys, tiny_files):
    from lensequiv.data import sample_paths

    path = str(sample_paths("modelF")[0])
    assert main(["predict", path, "--weights", NAME, "--output", "json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    expected = lensequiv.from_pretrained(NAME).predict(path)
    assert row["label"] == expected.labels[0]
    assert main(["predict", path, "--weights", "nobody/nothing"]) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "the Hub has no such repository" in err
