"""What contributors and CI run: `nox -l` lists the commands, `nox -s lint` runs one.

They run in the environment that nox was started from (`pip install -e '.[test]'`), but
for `lowest`, `newest`, `distribution` and `extras`, which make their own.
"""

import re
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["lint", "quick"]
nox.options.default_venv_backend = "none"
nox.needs_version = ">=2024.10"

# What the lowest and the newest versions are tried with: everything that users install.
EXTRAS = "app,fits,hdf5,pandas,parquet,plots,saliency,sim,train"


@nox.session
def quick(session: nox.Session) -> None:
    """Tests of every area in about a minute; more arguments go to pytest."""
    # By file: what the tests of one share is made once, not once in each process.
    spread = ("-n", "auto", "--dist", "loadfile")
    # Compiled tests are kept: compiling them is a third of what a process begins with.
    kept = {"PYTHONDONTWRITEBYTECODE": ""}
    session.run("python", "-m", "pytest", *spread, "-q", *session.posargs, env=kept)


@nox.session
def full(session: nox.Session) -> None:
    """All tests, the code blocks of README and docs included, and the slowest ones."""
    session.run("python", "-m", "pytest", "--full", "-n", "auto", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, spelling, and which part may import which."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation; any warning is an error."""
    session.run(
        *("python", "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto"),
        *("docs", "docs/_build/html"),
    )


@nox.session
def weights(session: nox.Session) -> None:
    """The bundled weights: files, cards, golden logits, the README's numbers."""
    session.run("python", "-m", "pytest", "--full", "tests/pretrained/test_bundled.py")


@nox.session
def coverage(session: nox.Session) -> None:
    """All tests, and which lines of the package they did not reach."""
    session.run(
        *("python", "-m", "pytest", "--full", "-n", "auto"),
        *("--cov=lensequiv", "--cov-branch"),
        *("--cov-report=term-missing:skip-covered", *session.posargs),
    )


@nox.session(venv_backend="venv")
def lowest(session: nox.Session) -> None:
    """The tests on the oldest versions that `pyproject.toml` promises."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [r for name in EXTRAS.split(",") for r in extras[name]]
    oldest = _oldest([*project["dependencies"], *named])
    # In one go: what the tests compare with must not bring newer versions.
    tools = ("pytest>=8", "pytest-xdist", "sybil>=8", "hypothesis", "pillow")
    session.install(*oldest, *tools, "lenstronomy>=1.14.2", "scikit-learn")
    session.install("--no-deps", "-e", ".")
    session.run("python", "-m", "pytest", "-n", "auto", "-q", *session.posargs)


@nox.session(venv_backend="venv")
def newest(session: nox.Session) -> None:
    """The tests on the newest versions there are."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "-q", *session.posargs)


@nox.session(venv_backend="venv")
def distribution(session: nox.Session) -> None:
    """Builds sdist and wheel, checks them, and predicts with the installed wheel.

    `nox -s distribution -- dist` leaves them in that folder, which must not exist.
    """
    session.install("build", "twine", "check-wheel-contents")
    temporary = Path(session.create_tmp())
    folder = Path(*session.posargs).resolve() if session.posargs else temporary
    session.run("python", "-m", "build", "--outdir", str(folder), ".")
    built = sorted(map(str, folder.glob("lensequiv-*")))
    wheel = next(name for name in built if name.endswith(".whl"))
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", wheel)
    session.install(wheel)
    session.cd(temporary)
    session.run("lensequiv", "predict", "--demo")


@nox.session(venv_backend="venv")
@nox.parametrize("extra", ["none", *EXTRAS.split(","), "onnx", "ray"])
def extras(session: nox.Session, extra: str) -> None:
    """Installs the wheel with one extra alone, and uses what that extra is for."""
    folder = Path(session.create_tmp())
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder), ".")
    (wheel,) = map(str, folder.glob("lensequiv-*.whl"))
    session.install(
        wheel if extra == "none" else f"lensequiv[{extra}] @ file://{wheel}"
    )
    script = Path("tests", "extras_alone.py").resolve()
    session.cd(folder)
    session.run("python", str(script), extra)


def _oldest(requirements: list[str]) -> list[str]:
    """Lower bounds as pins; where extras differ in one, the higher bound."""
    found: dict[str, tuple[int, ...]] = {}
    for requirement in requirements:
        if requirement.startswith("lensequiv["):
            continue
        bound = re.match(r"([\w.-]+)[^>]*>=([\d.]+)", requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound")
        version = tuple(map(int, bound[2].split(".")))
        found[bound[1]] = max(version, found.get(bound[1], ()))
    # 2.4 stands for its newest patch release, as 17 does for that of 17.0; 0.4.3 for
    # itself.
    ends = {1: ".0.*", 2: ".*", 3: ""}
    return [
        f"{name}=={'.'.join(map(str, version))}{ends[len(version)]}"
        for name, version in found.items()
    ]
