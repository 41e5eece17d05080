"""`lensequiv simulate`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lensequiv.cli._summary import Stopwatch
from lensequiv.cli._types import Commands

if TYPE_CHECKING:
    from lensequiv.simulation import Recipe

__all__ = ["add"]

_FILES = (".h5", ".hdf5")


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    simulate = commands.add_parser("simulate", help="make a data set (extra: sim)")
    simulate.add_argument(
        "recipe",
        help="modelF, modelJ, deeplensesim1, wide, hst, ... (modelJ@1: an earlier "
        "version), "
        "or a .json or .py file",
    )
    out = simulate.add_argument(
        "out", metavar="OUT", help="folder to make, or file (.h5, .hdf5)"
    )
    # Not nargs="?", which Python 3.11 takes for empty if options stand before OUT.
    out.required = False
    simulate.add_argument("--images", type=int, metavar="N", help="needed with OUT")
    simulate.add_argument("--seed", type=int, metavar="S", help="needed with OUT")
    simulate.add_argument(
        "--sheet",
        type=Path,
        metavar="PICTURE",
        help="draw 8 lenses of each class with the truth over them (extra: plots)",
    )
    simulate.add_argument("--workers", type=int, help="threads (default: all)")
    simulate.set_defaults(
        run=_simulate,
        resumes=lambda args: args.out is not None,
        usage_error=simulate.error,
    )


def _simulate(args: argparse.Namespace) -> None:
    is_file = args.out is not None and _names_a_file(args.out)
    wanted = {"OUT": args.out, "--images": args.images, "--seed": args.seed}
    missing = [name for name, value in wanted.items() if value is None]
    # A sheet needs none of them (but can take a seed); a data set needs all.
    a_set = not args.sheet or args.out is not None or args.images is not None
    if missing and a_set:
        args.usage_error(
            f"{' and '.join(missing)} missing: expected RECIPE OUT --images N --seed "
            "S, or RECIPE --sheet PICTURE"
        )
    from lensequiv.simulation import load_recipe, write_class_folders, write_hdf5

    recipe = load_recipe(args.recipe)
    if args.sheet:
        _draw_sheet(recipe, args.seed or 0, args.sheet)
    if args.out is not None:
        write, watch = write_hdf5 if is_file else write_class_folders, Stopwatch()
        out = write(recipe, args.images, args.out, seed=args.seed, workers=args.workers)
        print(f"{args.images} images in {out}")
        sys.stdout.flush()
        classes = ", ".join(recipe.classes)
        watch.tell(f"{recipe.name}, equal parts of {classes}", args.images)


def _draw_sheet(recipe: Recipe, seed: int, picture: Path) -> None:
    from lensequiv.plots import check_picture, plot_sheet
    from lensequiv.simulation import simulate

    check_picture(picture)
    lenses = simulate(recipe, 8 * len(recipe.classes), seed=seed)
    plot_sheet(lenses, path=picture)
    print(f"{len(lenses)} lenses in {picture}")


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
