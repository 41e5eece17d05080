"""Everything that can go wrong between the Hub and the disk, one test for each.

After each fault: no load gives other logits, classes or preprocessing; each failure is
an error of ours that says what to do; and once the fault is gone, force_download=True
makes the cache good again, offline, too. `pytest --collect-only -q` lists the faults.
"""

import socket

import pytest
from hub_helpers import NAME, facts, fetches
from hub_server import Fault

import lensequiv

pytestmark = pytest.mark.slow

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PAGE = b"<!DOCTYPE html><html><body>Please log in to the network</body></html>"


def load(cache, **kwargs):
    """The model's facts or the error; other errors than ours fail the test."""
    try:
        model = lensequiv.from_pretrained(NAME, cache_dir=cache, **kwargs)
    except (lensequiv.HubError, lensequiv.WeightsError) as error:
        assert len(str(error).splitlines()) == 1
        assert NAME in str(error) or str(cache) in str(error)
        return error
    return facts(model)


def check(hub, cache, message, after="right"):
    """Loads with the fault, then without it, then by force, then offline.

    Args:
        hub: The server, with the fault.
        cache: An empty cache.
        message: Pattern of the error; None where the load has to succeed.
        after: What a plain load gives once the fault is gone: "right", or "refused"
            where the cache holds a damaged file.
    """
    first = load(cache)
    if message is None:
        assert first == hub.facts
    else:
        assert isinstance(first, Exception), "it loaded"
        with pytest.raises(type(first), match=message):
            raise first
    offline = load(cache, local_files_only=True)
    hub.faults.clear()
    second = load(cache)
    assert isinstance(second, Exception) == (after == "refused"), second
    for found in (first, offline, second):
        assert isinstance(found, Exception) or found == hub.facts
    assert load(cache, force_download=True) == hub.facts
    assert load(cache, local_files_only=True) == hub.facts


def on(hub, file, method, change, times=float("inf")):
    hub.faults.append(Fault(fetches(file, method), change, times))


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
class TestDownloadCut:
    @pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
    def test_once_is_resumed(self, hub, tmp_path, file, part, monkeypatch):
        # The client writes, and resumes, in pieces of 10 MB.
        target = "huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE"
        monkeypatch.setattr(target, 16)
        size = len(hub.repos[NAME].commits[hub.second][file])
        cut = int(part * size) // 16 * 16
        on(hub, file, "GET", lambda r: setattr(r, "send", cut), times=1)
        check(hub, tmp_path, None)
        match = fetches(file, "GET")
        gets = [r.headers.get("range") for r in hub.requests if match(r)]
        # The first try, the resumed one, and the forced one.
        assert gets == [None, f"bytes={cut}-" if cut else None, None]

    @pytest.mark.parametrize("times", [2, 5])
    def test_several_times_is_resumed(self, hub, tmp_path, file, times):
        on(hub, file, "GET", lambda r: setattr(r, "send", 200), times=times)
        check(hub, tmp_path, None)

    def test_always(self, hub, tmp_path, file):
        on(hub, file, "GET", lambda r: setattr(r, "send", 0))
        check(hub, tmp_path, "broke off in the middle of its answer: try again")

    def test_connection_closed_without_a_word(self, hub, tmp_path, file):
        on(hub, file, "GET", lambda r: setattr(r, "silent", True))
        check(hub, tmp_path, "broke off in the middle of its answer: try again")

    def test_connection_closed_before_the_metadata(self, hub, tmp_path, file):
        on(hub, file, "HEAD", lambda r: setattr(r, "silent", True))
        check(hub, tmp_path, "broke off in the middle of its answer: try again")


def status(code, error="", text=""):
    def change(response):
        response.status, response.body = code, b'{"error": "no"}'
        response.headers = {"X-Error-Code": error, "X-Error-Message": text}

    return change


ANSWERS = {
    "401": (status(401, text="Invalid credentials"), r"refuses access \(status 401\)"),
    "401-token": (
        status(401, text="Invalid credentials in Authorization header"),
        r"refuses access \(status 401\): check that the token",
    ),
    "403": (status(403, text="Forbidden"), r"refuses access \(status 403\)"),
    "403-gated": (status(403, "GatedRepo"), "access to it is granted by its owner"),
    "404-repository": (status(404, "RepoNotFound"), "no such repository, or hides it"),
    "404-revision": (status(404, "RevisionNotFound"), "there is no revision"),
    "404-file": (status(404, "EntryNotFound"), "holds no weights of lensequiv"),
    "404-bare": (status(404), r"answered with status 404.*\(try force_download=True\)"),
    "410": (status(410), "answered with status 410"),
    "418": (status(418), "answered with status 418"),
    "429": (status(429), r"too many requests from here \(status 429\): try again"),
    "500": (status(500), r"in trouble \(status 500\): try again later"),
    "502": (status(502), r"in trouble \(status 502\): try again later"),
    "503": (status(503), r"in trouble \(status 503\): try again later"),
    "504": (status(504), r"in trouble \(status 504\): try again later"),
}


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
class TestStatus:
    @pytest.mark.slow
    @pytest.mark.parametrize("answer", ANSWERS)
    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    def test_always(self, hub, tmp_path, file, method, answer):
        change, message = ANSWERS[answer]
        on(hub, file, method, change)
        check(hub, tmp_path, message)

    @pytest.mark.slow
    @pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
    @pytest.mark.parametrize("times", [1, 3])
    def test_then_success(self, hub, tmp_path, file, code, times):
        on(hub, file, "HEAD", status(code), times=times)
        check(hub, tmp_path, None)

    def test_503_once_for_the_content(self, hub, tmp_path, file):
        on(hub, file, "GET", status(503), times=1)
        check(hub, tmp_path, r"in trouble \(status 503\): try again later")


def header(name, value):
    def change(response):
        if value is None:
            response.headers.pop(name, None)
        else:
            response.headers[name] = value

    return change


def body(replace):
    """Replaces the whole content; ranges do not occur without a cut."""

    def change(response):
        response.body = replace(response.body)

    return change


def flip(part, bit=0):
    def replace(content):
        changed = bytearray(content)
        changed[min(int(part * len(content)), len(content) - 1)] ^= 1 << bit
        return bytes(changed)

    return body(replace)


DAMAGED = "damaged on the way or on disk; load it once with force_download=True"
LENGTH = "not as long as the Hub announced, and was thrown away: try again"


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
class TestContent:
    @pytest.mark.slow
    @pytest.mark.parametrize("part", [0.0, 0.001, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0])
    @pytest.mark.parametrize("bit", [0, 6])
    def test_flipped_bit(self, hub, tmp_path, file, part, bit):
        on(hub, file, "GET", flip(part, bit))
        check(hub, tmp_path, DAMAGED, after="refused")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "replace",
        [
            pytest.param(lambda c: c[:-1], id="byte-less"),
            pytest.param(lambda c: c[: len(c) // 2], id="half"),
            pytest.param(lambda c: b"", id="empty"),
            pytest.param(lambda c: c + b"\n", id="byte-more"),
            pytest.param(lambda c: c + c, id="twice"),
            pytest.param(lambda c: PAGE, id="web-page"),
        ],
    )
    def test_other_length_than_announced(self, hub, tmp_path, file, replace):
        on(hub, file, "GET", body(replace))
        check(hub, tmp_path, LENGTH)

    @pytest.mark.parametrize(
        "replace",
        [
            pytest.param(lambda c: PAGE.ljust(len(c))[: len(c)], id="web-page"),
            pytest.param(lambda c: bytes(len(c)), id="zeros"),
            pytest.param(lambda c: b"{}".ljust(len(c)), id="empty-object"),
            pytest.param(lambda c: c[1:] + c[:1], id="shifted"),
            pytest.param(
                lambda c: c[: len(c) // 2] + bytes(len(c) - len(c) // 2),
                id="second-half-zero",
            ),
        ],
    )
    def test_other_content_of_the_right_length(self, hub, tmp_path, file, replace):
        on(hub, file, "GET", body(replace))
        check(hub, tmp_path, DAMAGED, after="refused")

    def test_of_another_commit(self, hub, tmp_path, file):
        other = hub.repos[NAME].commits[hub.first][file]
        on(hub, file, "GET", body(lambda content: other))
        check(hub, tmp_path, DAMAGED, after="refused")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sphere"', b'"sphexe"'),
        (b'"vort"', b'"no!!"'),
        (b'"input_size": 33', b'"input_size": 17'),
        (b'"size": 33', b'"size": 17'),
        (b'"sky": 0.25', b'"sky": 0.35'),
        (b'"info"', b'"onfi"'),
    ],
)
def test_changed_config_of_the_right_length(hub, tmp_path, old, new):
    """What still is a config, of which some would load."""
    content = hub.repos[NAME].commits[hub.second][CONFIG]
    assert old in content
    on(hub, CONFIG, "GET", body(lambda c: c.replace(old, new, 1)))
    check(hub, tmp_path, DAMAGED, after="refused")


SHA1, SHA256 = "0123456789abcdef" * 2 + "01234567", "0123456789abcdef" * 4


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
class TestMetadata:
    @pytest.mark.parametrize("etag", [SHA1, SHA256])
    def test_wrong_etag(self, hub, tmp_path, file, etag):
        name = "ETag" if file == CONFIG else "X-Linked-Etag"
        on(hub, file, "HEAD", header(name, f'"{etag}"'))
        check(hub, tmp_path, DAMAGED, after="refused")

    def test_no_etag(self, hub, tmp_path, file):
        name = "ETag" if file == CONFIG else "X-Linked-Etag"
        on(hub, file, "HEAD", header(name, None))
        check(hub, tmp_path, "is not the Hub's: check HF_ENDPOINT, the proxy")

    @pytest.mark.parametrize("change", [-1, 1, 1000])
    def test_wrong_size(self, hub, tmp_path, file, change):
        size = len(hub.repos[NAME].commits[hub.second][file])
        on(hub, file, "HEAD", header("X-Linked-Size", str(size + change)))
        check(hub, tmp_path, LENGTH)

    def test_no_commit(self, hub, tmp_path, file):
        on(hub, file, "HEAD", header("X-Repo-Commit", None))
        check(hub, tmp_path, "is not the Hub's: check HF_ENDPOINT, the proxy")

    @pytest.mark.parametrize("location", ["same", "circle"])
    def test_redirect_loop(self, hub, tmp_path, file, location):
        def redirect(response):
            other = "/there" if location == "circle" else ""
            response.status = 307
            path = f"/{NAME}/resolve/main{other}/{file}"
            response.headers = {"Location": path}

        on(hub, file, "HEAD", redirect)
        check(hub, tmp_path, "redirects in a circle")

    def test_redirect_loop_of_the_content(self, hub, tmp_path, file):
        def redirect(response):
            response.status = 307
            response.headers = {"Location": hub.requests[-1].path}

        on(hub, file, "GET", redirect)
        check(hub, tmp_path, "redirects in a circle")

    def test_login_page_of_a_network(self, hub, tmp_path, file):
        def page(response):
            response.status, response.body = 200, PAGE
            response.headers = {"Content-Type": "text/html"}

        for method in ("HEAD", "GET"):
            on(hub, file, method, page)
        check(hub, tmp_path, "whether the network wants a login in a browser")


def test_commit_of_another_revision(hub, tmp_path):
    on(hub, WEIGHTS, "HEAD", header("X-Repo-Commit", hub.first))
    check(hub, tmp_path, "it is no faithful copy of the Hub")


class TestNetwork:
    def test_port_closed(self, hub, tmp_path, monkeypatch):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            closed = f"127.0.0.1:{free.getsockname()[1]}"
        template = f"http://{closed}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        with monkeypatch.context() as patch:
            target = "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE"
            patch.setattr(target, template)
            patch.setattr("huggingface_hub.constants.ENDPOINT", f"http://{closed}")
            found = load(tmp_path)
            assert "cannot be reached: check the network and the proxy" in str(found)
            assert "lensequiv download" in str(found)
            assert "HF_HUB_OFFLINE=1" in str(found)
        check(hub, tmp_path, None)

    @pytest.mark.slow
    @pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    def test_slow(self, hub, tmp_path, monkeypatch, file, method):
        def wait(response):
            response.wait = 5.0
            response.send = 0 if method == "GET" else None

        on(hub, file, method, wait)
        with monkeypatch.context() as patch:
            for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
                patch.setattr(f"huggingface_hub.constants.{name}", 0.05)
            target = "huggingface_hub.file_download._ETAG_RETRY_TIMEOUT"
            patch.setattr(target, 0.05, raising=False)
            found = load(tmp_path)
        assert "did not answer in time" in str(found)
        assert "HF_HUB_DOWNLOAD_TIMEOUT" in str(found)
        hub.woken.set()
        hub.faults.clear()
        check(hub, tmp_path, None)

    @pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
    def test_no_http(self, hub, tmp_path, file):
        on(hub, file, "GET", header("Content-Length", "many"))
        found = load(tmp_path)
        assert isinstance(found, Exception)
        hub.faults.clear()
        check(hub, tmp_path, None)
