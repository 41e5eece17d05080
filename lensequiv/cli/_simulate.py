"""`lensequiv simulate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    simulate = commands.add_parser("simulate", help="make a data set (extra: sim)")
    simulate.add_argument(
        "recipe",
        help="modelF, modelJ, deeplensesim1, ...; an earlier version: modelJ@1",
    )
    simulate.add_argument(
        "out", type=Path, metavar="OUT", help="folder to make, or file (.h5)"
    )
    simulate.add_argument("--images", type=int, required=True, metavar="N")
    simulate.add_argument("--seed", type=int, required=True, metavar="S")
    simulate.add_argument("--workers", type=int, help="threads (default: all)")
    simulate.set_defaults(run=_simulate)


def _simulate(args: argparse.Namespace) -> None:
    from lensequiv.simulation import write_class_folders, write_hdf5

    is_file = args.out.suffix.lower() in (".h5", ".hdf5")
    write = write_hdf5 if is_file else write_class_folders
    out = write(
        args.recipe, args.images, args.out, seed=args.seed, workers=args.workers
    )
    print(f"{args.images} images in {out}")
