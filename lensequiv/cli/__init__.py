"""The `lensequiv` command: a module for each subcommand."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from lensequiv._version import __version__
from lensequiv.cli import (
    _app,
    _convert,
    _download,
    _equivariance,
    _evaluate,
    _info,
    _list,
    _map,
    _predict,
    _publish,
    _scripts,
    _simulate,
)
from lensequiv.cli._ending import interrupted, reader_left

__all__ = ["main"]

# Each adds its parser, with the function to run as the default `run`.
_COMMANDS = (
    _list,
    _info,
    _download,
    _predict,
    _map,
    _evaluate,
    _equivariance,
    _convert,
    _publish,
    _simulate,
    _scripts,
    _app,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lensequiv",
        description="Dark-matter substructure in lensing images.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        0, or 1 after printing what was wrong with the input; 130 after Ctrl-C, and 141
        if what reads the output has ended, as shells report it.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in _scripts.SCRIPTS:  # which parse their arguments themselves
        name, rest = argv[0], argv[1:]
        args = argparse.Namespace(
            command=name, run=lambda _: _scripts.run_script(name, rest)
        )
    else:
        args = _parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            if args.command != "list":  # which answers before torch could be loaded
                from lensequiv.domain import OutOfDomainWarning

                warnings.simplefilter("always", OutOfDomainWarning)
            args.run(args)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return interrupted(args, argv)
        except BrokenPipeError:
            return reader_left()
        except (OSError, ValueError, ImportError, MemoryError) as error:
            print(f"lensequiv {args.command}: {error}", file=sys.stderr)
            return 1
    return 0
