"""`lensequiv info`."""

from __future__ import annotations

import argparse
import json

from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    info = commands.add_parser("info", help="what is known about a trained weight")
    info.add_argument("name")
    info.add_argument("--json", action="store_true", help="the whole config")
    info.set_defaults(run=_info)


def _info(args: argparse.Namespace) -> None:
    from lensequiv import pretrained_info
    from lensequiv.pretrained import model_card

    config = pretrained_info(args.name)
    print(json.dumps(config, indent=2) if args.json else model_card(config, args.name))
