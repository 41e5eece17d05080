"""Ships `examples/` inside the package, so that `lensequiv finetune` finds it there.

All else stands in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

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


setup(cmdclass={"build_py": BuildWithExamples})
