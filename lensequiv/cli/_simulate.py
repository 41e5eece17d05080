"""`lensequiv simulate`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from lensequiv.cli._types import Commands

__all__ = ["add"]

_FILES = (".h5", ".hdf5")


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    simulate = commands.add_parser("simulate", help="make a data set (extra: sim)")
    simulate.add_argument(
        "recipe", help="modelF, modelJ, deeplensesim1, deeplensesim2 or deeplensesim3"
    )
    simulate.add_argument(
        "out", metavar="OUT", help="folder to make, or file (.h5, .hdf5)"
    )
    simulate.add_argument("--images", type=int, required=True, metavar="N")
    simulate.add_argument("--seed", type=int, required=True, metavar="S")
    simulate.add_argument("--workers", type=int, help="threads (default: all)")
    simulate.set_defaults(run=_simulate, resumes=lambda args: True)


def _simulate(args: argparse.Namespace) -> None:
    is_file = _names_a_file(args.out)
    from lensequiv.simulation import write_class_folders, write_hdf5

    write = write_hdf5 if is_file else write_class_folders
    out = write(
        args.recipe, args.images, args.out, seed=args.seed, workers=args.workers
    )
    print(f"{args.images} images in {out}")


def _names_a_file(out: str) -> bool:
    """Whether OUT is an HDF5 file, and not a folder.

    Raises:
        ValueError: It has the ending of another kind of file.
    """
    ending = Path(out).suffix
    if out.endswith(("/", os.sep)) or not re.search("[A-Za-z]", ending):
        return False
    if ending.lower() in _FILES:
        return True
    raise ValueError(
        f"OUT {out!r} ends in {ending!r}: expected the name of a folder, or of an HDF5 "
        f"file ({' or '.join(_FILES)}); for a folder of this very name write {out}/"
    )
