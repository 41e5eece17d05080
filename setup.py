"""The long description: the README with links that also work on PyPI.

All other metadata stands in `pyproject.toml`. There `project.urls` says where the
source is; here relative links of the README get that address in front.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def absolute_links(text: str, source: str, revision: str) -> str:
    """Markdown whose relative links and pictures point into a GitHub repository.

    Args:
        text: Markdown with links relative to the repository's root.
        source: Address of the repository.
        revision: Branch, tag or commit.
    """
    raw = source.replace("github.com", "raw.githubusercontent.com", 1)

    def absolute(match: re.Match[str]) -> str:
        exclamation, label, target = match.groups()
        base = f"{raw}/{revision}" if exclamation else f"{source}/blob/{revision}"
        return f"{exclamation}[{label}]({base}/{target})"

    # A badge is a picture within a link: `[![text](picture)](LICENSE)`.
    label = r"(?:!\[[^]]*\]\([^)]*\)|[^]\[]*)"
    return re.sub(rf"(!?)\[({label})\]\((?!https?://|#)([^)]+)\)", absolute, text)


def long_description() -> str:
    """The README for PyPI, its links to the files of this version."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    version = (HERE / "lensequiv" / "_version.py").read_text()
    tag = "v" + re.findall(r'__version__ = "(.+)"', version)[0]
    return absolute_links(
        (HERE / "README.md").read_text(), project["urls"]["Source"], tag
    )


if __name__ == "__main__":
    setup(
        long_description=long_description(),
        long_description_content_type="text/markdown",
    )
