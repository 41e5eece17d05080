"""`lensequiv download`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    download = commands.add_parser(
        "download",
        help="put a trained weight into a folder, for machines without a network",
    )
    download.add_argument("name", help="a bundled weight, or owner/name on the Hub")
    download.add_argument("directory", type=Path, metavar="DIR")
    download.add_argument("--revision", help="branch, tag or commit on the Hub")
    download.add_argument(
        "--token",
        help="for private repositories; other users of the machine can see it here: "
        "better set HF_TOKEN, or run 'hf auth login' once",
    )
    download.add_argument(
        "--cache-dir", type=Path, metavar="DIR", help="the Hub's cache, as cache_dir="
    )
    download.add_argument(
        "--force",
        action="store_true",
        help="fetch again even if cached, and replace other weights in DIR",
    )
    download.set_defaults(run=_download)


def _download(args: argparse.Namespace) -> None:
    from lensequiv.pretrained import download_pretrained

    origin = download_pretrained(
        args.name,
        args.directory,
        revision=args.revision,
        cache_dir=args.cache_dir,
        token=args.token,
        force=args.force,
    )
    print(f"{origin} (sha256 {origin.sha256}) is in {args.directory}, and loads")
