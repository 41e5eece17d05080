"""`lensequiv publish-all`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    publish = commands.add_parser(
        "publish-all",
        help="prepare the bundled weights as repositories of the Hugging Face Hub",
    )
    publish.add_argument("directory", type=Path, metavar="DIR")
    publish.add_argument(
        "--organisation", required=True, help="user or organisation that owns them"
    )
    publish.add_argument(
        "--weights", default="*", metavar="PATTERN", help="for instance 'c8*'"
    )
    publish.add_argument(
        "--push",
        action="store_true",
        help="send them, too, each version as a commit with a tag; log in before with "
        "'hf auth login', or set HF_TOKEN",
    )
    publish.set_defaults(run=_publish)


def _publish(args: argparse.Namespace) -> None:
    from lensequiv.weights import publish_all

    folders = publish_all(
        args.directory, args.organisation, args.weights, push=args.push
    )
    for folder in folders:
        print(folder)
