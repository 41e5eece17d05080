"""The page in headless Chromium: load, drop, turn, download, bad file, huge file."""

import csv
import json
import re
import shutil
import socket
import threading
import time

import numpy as np
import pytest

import lensequiv
from lensequiv.app import Viewer, create_app
from lensequiv.data import sample_paths

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Chromium: apt-get install chromium"
    ),
]
playwright = pytest.importorskip("playwright.sync_api")
uvicorn = pytest.importorskip("uvicorn")
SAMPLE = sample_paths("modelJ")[0]
# As a browser drops a file: no test can reach into the desktop.
DROP = """([name, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name));
    const event = new DragEvent("drop", {dataTransfer: data, bubbles: true});
    document.getElementById("drop").dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def url():
    viewer = Viewer(["c8-modelJ", "c8-modelF"], lensequiv.from_pretrained)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(viewer, max_bytes=300_000)
    config = uvicorn.Config(app, "127.0.0.1", port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        # Without a sandbox: the tests may run as root, and load our own page alone.
        made = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser, url):
    """The page; at the end no error was logged and nothing asked for elsewhere."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(60_000)
    errors, elsewhere = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((url, "data:")) else elsewhere.append(r.url),
    )
    page.goto(url)
    until(page, "document.querySelectorAll('#weights option').length == 2")
    yield page
    page.close()
    assert not errors and not elsewhere


def until(page, condition):
    """Waits; not by `wait_for_function`, whose `eval` the page's policy forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        time.sleep(0.1)
    raise AssertionError(f"{condition} never came true")


def drop(page, name, content):
    page.evaluate(DROP, [name, list(content)])


def drawn(page, canvas):
    """The number of colours in a canvas."""
    return page.evaluate(
        """(id) => {
            const c = document.getElementById(id);
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            const seen = new Set();
            for (let i = 0; i < d.length; i += 4) seen.add(d.slice(i, i + 3).join());
            return seen.size;
        }""",
        canvas,
    )


def probabilities(page):
    return {
        row.locator("span").nth(0).inner_text(): float(
            row.locator("span").nth(1).inner_text()
        )
        for row in page.locator(".bar").all()
    }


def test_drop_turn_download(page, tmp_path):
    drop(page, "my lens.npy", SAMPLE.read_bytes())
    page.wait_for_selector("#result:not([hidden])")
    expected = lensequiv.from_pretrained("c8-modelJ").predict(SAMPLE)
    shown = probabilities(page)
    for name, value in zip(expected.classes, expected.probabilities[0], strict=True):
        assert shown[name] == pytest.approx(float(value), abs=6e-4)
    assert page.inner_text("#name") == "my lens.npy"
    assert "150 \N{MULTIPLICATION SIGN} 150 pixels" in page.inner_text("#facts")
    assert page.is_hidden("#error")
    until(
        page,
        "document.getElementById('saliency-caption').textContent.includes('logits')",
    )
    for canvas in ("image", "saliency", "embedding"):
        assert drawn(page, canvas) >= 3, canvas
    before = page.evaluate("document.getElementById('image').toDataURL()")
    for angle in (90, 137):
        page.evaluate(
            """(angle) => {
                const slider = document.getElementById("angle");
                slider.value = angle;
                slider.dispatchEvent(new Event("input"));
            }""",
            angle,
        )
        until(page, f"current.angle === {angle}")
        change = float(re.search(r"by (\S+) %", page.inner_text("#change"))[1])
        assert change < 0.1 if angle == 90 else change > 0.01
    assert page.evaluate("document.getElementById('image').toDataURL()") != before
    assert page.inner_text("#degrees") == "137°"
    for form in ("csv", "json"):
        with page.expect_download() as saved:
            page.click(f"#{form}")
        saved.value.save_as(tmp_path / form)
        assert saved.value.suggested_filename == f"my lens.{form}"
    rows = list(csv.DictReader((tmp_path / "csv").open()))
    assert [row["angle"] for row in rows] == ["0", "90", "137"]
    content = json.loads((tmp_path / "json").read_text())
    assert content["rows"][2]["probabilities"] == pytest.approx(
        page.evaluate("current.probabilities")
    )


def test_a_file_is_chosen_and_a_strange_one_warned_of(page, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.npy"
    np.save(path, rng.normal(size=(129, 129)).astype(np.float32))
    page.set_input_files("#file", path)
    page.wait_for_selector("#warning:not([hidden])")
    assert page.locator("#notes li").count() >= 1


def test_bad_and_huge_files(page):
    drop(page, "lens.fits", b"no such thing")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error").startswith("lens.fits ")
    assert page.is_hidden("#result")
    posted = []
    page.on("request", lambda r: posted.append(r) if r.method == "POST" else None)
    page.evaluate(DROP.replace("bytes)", "400000)"), ["huge.npy", None])
    until(page, "document.getElementById('error').textContent.includes('huge.npy has')")
    assert not posted, "it is not even sent"
    drop(page, "<img src=x onerror=alert(1)>.npy", SAMPLE.read_bytes())
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#name") == "<img src=x onerror=alert(1)>.npy"
    assert page.locator("#name img").count() == 0
    assert page.is_hidden("#error"), "the next good file is shown"


def test_other_weights_and_a_narrow_window(page):
    page.set_viewport_size({"width": 380, "height": 800})
    page.select_option("#weights", "c8-modelF")
    drop(page, "a.npy", SAMPLE.read_bytes())
    until(page, "shown && shown.weights == 'c8-modelF'")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 380, "nothing is cut off at the side"
    box = page.locator("#image").bounding_box()
    assert box["height"] == pytest.approx(box["width"], abs=1)
    page.set_viewport_size({"width": 1100, "height": 800})
    box = page.locator("#image").bounding_box()
    assert box["height"] == pytest.approx(box["width"], abs=1)
