"""`lensequiv convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    convert = commands.add_parser(
        "convert", help="turn a checkpoint of the 2021 study into a weight"
    )
    convert.add_argument("checkpoint", type=Path, help="best-model-parameters.pt")
    convert.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    convert.add_argument("--group", required=True, help="c4, c8, d4 or d8")
    convert.add_argument(
        *("--recipe", "--model"),  # the second is what it was called once
        required=True,
        type=_recipe,
        choices=["modelF", "modelJ"],
        help="what it was trained on",
    )
    convert.add_argument(
        "--fields",
        type=int,
        nargs=6,
        metavar="N",
        help="regular fields of its blocks, if they are not the study's",
    )
    convert.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> None:
    from lensequiv.pretrained import convert_checkpoint

    print(
        convert_checkpoint(
            args.checkpoint, args.group, args.recipe, args.out, fields=args.fields
        )
    )


def _recipe(name: str) -> str:
    """The recipe's name, of which the letter alone will do."""
    return f"model{name}" if name in ("F", "J") else name
