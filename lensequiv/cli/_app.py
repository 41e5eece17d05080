"""`lensequiv app`."""

from __future__ import annotations

import argparse

from lensequiv.cli._types import Commands
from lensequiv.cli._weights import ADVISED

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    app = commands.add_parser(
        "app", help="see images and what weights say of them in a browser (extra: app)"
    )
    app.add_argument(
        "--weights",
        nargs="+",
        metavar="NAME",
        help="names or folders to choose from (default: all bundled ones, "
        f"{ADVISED} first)",
    )
    app.add_argument("--port", type=int, default=8765, help="default: 8765; 0: any")
    app.add_argument(
        "--host",
        default="127.0.0.1",
        help="default: 127.0.0.1, this machine alone; any other opens the page to "
        "whoever reaches it",
    )
    app.add_argument(
        "--max-mb", type=float, default=64, metavar="MB", help="largest file taken"
    )
    app.set_defaults(run=_app)


def _app(args: argparse.Namespace) -> None:
    if not 0 < args.max_mb <= 4096:
        raise ValueError(f"--max-mb {args.max_mb:g}: expected more than 0, to 4096")
    if not 0 <= args.port < 65536:
        raise ValueError(f"--port {args.port}: expected from 0 to 65535")
    from lensequiv import from_pretrained, list_pretrained
    from lensequiv.app import Viewer, serve

    # The page begins with the first.
    bundled = sorted(list_pretrained(), key=lambda name: name != ADVISED)
    weights = args.weights or bundled
    viewer = Viewer(weights, from_pretrained)
    for name in args.weights or ():
        from_pretrained(name)  # a wrong name is told now, not to the page
    serve(
        viewer,
        host=args.host,
        port=args.port,
        max_bytes=int(args.max_mb * 2**20),
    )
