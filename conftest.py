"""Which tests run, and the Python blocks of README and docs as tests.

A bare `pytest` is for while one works: it leaves out what is marked `slow`, the code
blocks of the docs and the tests of examples and benchmarks, and runs each parametrised
test with its first parameters alone. Files that are marked `slow` as a whole are not
even imported: what they compare with (lenstronomy, torchvision, hypothesis) takes
seconds to load, in each process.
`pytest --full` runs everything, and so does `--device cuda` (tests/conftest.py). A test
that is named (`pytest tests/test_x.py::test_y`) always runs, with all parameters.

Without sybil (extra `test`), as on a machine that only lends its accelerator, folders
of tests run, but not the code blocks: pytest then refuses `README.md` and `docs`.
"""

import gc
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: one thread for each, and for the processes they start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

try:
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
except ModuleNotFoundError:
    Sybil = None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="run slow tests and code blocks, too"
    )


SCRIPTS = [
    Path(__file__).parent / "tests" / name
    for name in (
        "examples",
        "test_benchmarks.py",
        "test_known_lens.py",
        "test_limits.py",
    )
]
"""Tests of what is beside the package; the quick choice runs those that are named."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("--full") or not (
        collection_path in SCRIPTS or _is_slow_as_a_whole(collection_path)
    ):
        return None
    if config.getoption("--device", "cpu") != "cpu" or config.getoption("-m"):
        return None
    named = [Path(config.invocation_params.dir, a.split("::")[0]) for a in config.args]
    return None if any(n.is_relative_to(collection_path) for n in named) else True


def _is_slow_as_a_whole(path: Path) -> bool:
    mark = r"^pytestmark = \[?\s*pytest\.mark\.slow"
    return path.suffix == ".py" and bool(re.search(mark, path.read_text(), re.M))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keeps what is imported and collected from being searched for garbage.

    It stays until the end, and looking through it again and again would take a fifth of
    the time of collecting.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    named = any("::" in argument for argument in config.args)
    accelerated = config.getoption("--device", "cpu") != "cpu"
    if config.getoption("--full") or named or accelerated or config.getoption("-m"):
        return
    kept, left_out, seen = [], [], set()
    for item in items:
        slow = item.get_closest_marker("slow") or item.path.suffix == ".md"
        test, _, _ = item.nodeid.partition("[")
        (left_out if slow or test in seen else kept).append(item)
        seen.add(test)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def _in_temporary_folder(namespace: dict[str, Any]) -> None:
    from lensequiv.data import sample_paths

    namespace["_before"] = Path.cwd()
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    (folder / "cutouts").mkdir()
    for path in sample_paths("modelF"):
        shutil.copy(path, folder / "cutouts")


def _back(namespace: dict[str, Any]) -> None:
    folder = Path.cwd()
    os.chdir(namespace["_before"])
    shutil.rmtree(folder)


if Sybil is not None:
    pytest_collect_file = Sybil(
        parsers=[PythonCodeBlockParser(), SkipParser()],
        patterns=["README.md", "docs/*.md", "docs/api/*.md"],
        setup=_in_temporary_folder,
        teardown=_back,
    ).pytest()
