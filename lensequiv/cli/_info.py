"""`lensequiv info`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    info = commands.add_parser("info", help="what is known about a trained weight")
    info.add_argument(
        "name",
        metavar="NAME",
        help="a bundled weight, a folder, or owner/name on the Hub",
    )
    info.add_argument("--json", action="store_true", help="the whole config")
    info.set_defaults(run=_info)


def _info(args: argparse.Namespace) -> None:
    from lensequiv.pretrained import model_card
    from lensequiv.pretrained._loading import locate
    from lensequiv.weights._format import read_config
    from lensequiv.weights._hub import HubOptions

    if Path(args.name).is_file():
        raise ValueError(
            f"{args.name} is a file; expected a bundled weight, a folder that "
            "save_pretrained or 'lensequiv download' wrote, or owner/name on the Hub"
        )
    directory, _ = locate(args.name, HubOptions())
    config = read_config(directory)
    print(json.dumps(config, indent=2) if args.json else model_card(config, args.name))
