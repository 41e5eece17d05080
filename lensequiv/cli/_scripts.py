"""`lensequiv finetune`, `train` and `survey`: the scripts of `examples/`.

The package holds a copy of that folder, so that an installed one has them, too. They
parse their own arguments and import one another by name, as scripts do.
"""

from __future__ import annotations

import argparse
import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lensequiv.cli._types import Commands

__all__ = ["SCRIPTS", "add", "examples_folder", "run_script"]

# What each is for, and the extra that has what it needs.
SCRIPTS = {
    "finetune": ("adapt a weight to your own labelled images", "train"),
    "train": ("train a model from random weights or another weight", "train"),
    "survey": ("classify a survey's cut-outs on many cores or machines", "ray"),
}


def add(commands: Commands) -> None:
    """Adds the subcommands, and `lensequiv examples`."""
    for name, (what, extra) in SCRIPTS.items():
        # Only for the list of commands: `run_script` takes them before they are parsed.
        commands.add_parser(name, help=f"{what} (extra: {extra})", add_help=False)
    copied = commands.add_parser(
        "examples", help="copy the example scripts, to read or change them"
    )
    copied.add_argument("directory", type=Path, metavar="DIR", help="a new folder")
    copied.set_defaults(run=_copy)


def examples_folder() -> Path:
    """Where the scripts lie: in an installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: In neither.
    """
    package = Path(__file__).parents[1]
    places = (package / "_examples", package.parent / "examples")
    for place in places:
        if (place / "finetune.py").is_file():
            return place
    raise FileNotFoundError(
        f"the scripts are neither in {places[0]} nor in {places[1]}; install lensequiv "
        "again"
    )


def run_script(name: str, argv: Sequence[str]) -> None:
    """Runs a script.

    Args:
        name: Of `SCRIPTS`.
        argv: Its arguments.

    Raises:
        ImportError: Its extra is not installed.
        FileNotFoundError: There is no such script.
    """
    folder = str(examples_folder())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    before, sys.argv = sys.argv, [f"lensequiv {name}", *argv]
    try:
        # As `__main__`, so that Ray sends what it defines to workers without the file.
        runpy.run_path(f"{folder}/{name}.py", run_name="__main__")
    except ModuleNotFoundError as error:
        extra = SCRIPTS[name][1]
        raise ImportError(
            f"{error.name} is not installed: pip install 'lensequiv[{extra}]'"
        ) from error
    finally:
        sys.argv = before


def _copy(args: argparse.Namespace) -> None:
    target = args.directory
    if target.exists():
        raise FileExistsError(f"{target} exists; expected the name of a new folder")
    shutil.copytree(
        examples_folder(), target, ignore=shutil.ignore_patterns("__pycache__")
    )
    print(f"{len([*target.glob('*.py')])} scripts in {target}; see finetune.py first")
