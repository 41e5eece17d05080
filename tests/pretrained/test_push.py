import pytest
import torch
from hub_helpers import NAME, logits, tiny
from hub_server import READ, WRITE, Fault

import lensequiv

NEW = "lens-group/new"
FILES = {"config.json", "model.safetensors", "README.md"}


def test_push_and_load(hub, tmp_path):
    model = tiny(5)
    done = lensequiv.push_to_hub(model, NEW, token=WRITE, private=True)
    repo = hub.repos[NEW]
    assert repo.private and repo.refs["main"] == done.oid
    assert done.commit_url.endswith(f"/{NEW}/commit/{done.oid}")
    assert set(repo.commits[done.oid]) == {*FILES, ".gitattributes"}
    # The first commit, and one with all three files.
    assert len(repo.commits) == 2
    assert repo.messages[done.oid].startswith("tests-tiny, with lensequiv ")
    loaded = lensequiv.from_pretrained(
        NEW, revision=done.oid, cache_dir=tmp_path, token=READ
    )
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.origin.commit == done.oid


def test_card_says_how_to_load_it(hub):
    done = tiny(5).push_to_hub(NEW, token=WRITE, commit_message="why")
    card = hub.repos[NEW].commits[done.oid]["README.md"].decode()
    assert card.startswith("---\nlicense: ")
    assert f'from_pretrained("{NEW}")' in card
    assert hub.repos[NEW].messages[done.oid] == "why"


def test_push_again_keeps_other_files(hub, tmp_path):
    hub.repos[NAME].commit({"notes.txt": b"mine"})
    first = tiny(5).push_to_hub(NAME, token=WRITE)
    second = tiny(6).push_to_hub(NAME, token=WRITE)
    assert hub.repos[NAME].commits[second.oid]["notes.txt"] == b"mine"
    for oid, seed in ((first.oid, 5), (second.oid, 6)):
        model = lensequiv.from_pretrained(NAME, revision=oid, cache_dir=tmp_path)
        assert torch.equal(logits(model), logits(tiny(seed)))


def test_the_same_model_again_is_the_same_commit(hub):
    first = tiny(5).push_to_hub(NEW, token=WRITE)
    second = tiny(5).push_to_hub(NEW, token=WRITE)
    model = lensequiv.from_pretrained(NEW, revision=second.oid)
    assert torch.equal(logits(model), logits(tiny(5)))
    assert hub.repos[NEW].commits[first.oid] == hub.repos[NEW].commits[second.oid]


def test_branch(hub, tmp_path):
    done = tiny(5).push_to_hub(NAME, token=WRITE, revision="trial")
    assert hub.repos[NAME].refs["trial"] == done.oid
    assert hub.repos[NAME].refs["main"] == hub.second
    model = lensequiv.from_pretrained(NAME, revision="trial", cache_dir=tmp_path)
    assert model.origin.commit == done.oid


def test_pull_request(hub, tmp_path):
    done = tiny(5).push_to_hub(NAME, token=READ, create_pr=True)
    assert done.pr_url.endswith(f"/{NAME}/discussions/1")
    assert hub.repos[NAME].refs["main"] == hub.second
    model = lensequiv.from_pretrained(
        NAME, revision="refs/pr/1", cache_dir=tmp_path / "cache"
    )
    assert torch.equal(logits(model), logits(tiny(5)))
    assert model.origin.commit == done.oid


def test_info_and_start_are_published(hub):
    model = lensequiv.from_pretrained(NAME, classes=["cdm", "axion"])
    done = model.push_to_hub(NEW, token=WRITE, info={"licence": "MIT"})
    pushed = lensequiv.from_pretrained(NEW)
    assert pushed.weights_info["licence"] == "MIT"
    assert pushed.weights_info["started_from"]["weights"] == f"{NAME}@{hub.second}"
    card = hub.repos[NEW].commits[done.oid]["README.md"].decode()
    assert "license: mit" in card and hub.second in card


def test_nothing_is_sent_that_would_not_load(hub):
    model = tiny(5)
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"'head\.bias'"):
        model.push_to_hub(NEW, token=WRITE)
    assert NEW not in hub.repos and hub.requests == []


@pytest.mark.parametrize("repo_id", ["tiny", "a/b/c", "./a", ""])
def test_wrong_id(hub, repo_id):
    with pytest.raises(ValueError, match="expected owner/name"):
        tiny(5).push_to_hub(repo_id, token=WRITE)
    assert hub.requests == []


def test_revision_and_pull_request_exclude_each_other(hub):
    with pytest.raises(ValueError, match="goes to the default branch"):
        tiny(5).push_to_hub(NAME, token=WRITE, revision="x", create_pr=True)


@pytest.mark.parametrize(
    ("repo", "token", "message"),
    [
        (NEW, None, r"not pushed: .*(status 401|no such repository)"),
        (NEW, READ, r"not pushed: .*refuses access \(status 403\).*may write there"),
        (NAME, READ, r"not pushed: .*refuses access \(status 403\).*may write there"),
    ],
)
def test_no_permission(hub, repo, token, message):
    with pytest.raises(lensequiv.HubError, match=message):
        tiny(5).push_to_hub(repo, token=token)
    assert hub.repos[NAME].refs["main"] == hub.second and NEW not in hub.repos


@pytest.mark.parametrize("step", ["create", "preupload", "batch", "upload", "commit"])
def test_a_step_that_fails_publishes_nothing(hub, step):
    def fail(response):
        response.status, response.headers, response.body = 501, {}, b""

    hub.faults.append(Fault(lambda request: f"/{step}" in request.path, fail))
    with pytest.raises(lensequiv.HubError, match=r"in trouble \(status 501\)"):
        tiny(5).push_to_hub(NAME, token=WRITE)
    if step != "commit":
        assert hub.repos[NAME].refs["main"] == hub.second
