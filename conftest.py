"""Runs the Python blocks of README and docs, page by page, in a folder of their own."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser


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


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=_in_temporary_folder,
    teardown=_back,
).pytest()
