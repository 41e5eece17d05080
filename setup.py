"""What pyproject.toml cannot say: two steps of the build.

`examples/` is shipped inside the package, so that `lensequiv finetune` finds it there;
and the long description is the README with links that also work on PyPI. `project.urls`
in pyproject.toml says where the source is; here, and nowhere else, relative links of
the README get that address in front.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
EXAMPLES = sorted(map(str, Path("examples").glob("*.py")))


class BuildWithExamples(build_py):
    """Copies `examples/*.py` to `lensequiv/_examples`."""

    def run(self) -> None:
        """Builds, then copies; an editable install finds the folder itself."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "lensequiv", "_examples")
        self.mkpath(str(target))
        for path in EXAMPLES:
            self.copy_file(path, str(target))

    def get_source_files(self) -> list[str]:
        """For the sdist, which has to hold them, too."""
        return [*super().get_source_files(), *EXAMPLES]


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
        cmdclass={"build_py": BuildWithExamples},
        long_description=long_description(),
        long_description_content_type="text/markdown",
    )
