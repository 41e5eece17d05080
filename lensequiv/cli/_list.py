"""`lensequiv list`."""

from __future__ import annotations

import argparse

from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    listing = commands.add_parser("list", help="models and trained weights")
    listing.add_argument("pattern", nargs="?", default="*", help="for instance 'c8*'")
    listing.set_defaults(run=_list)


def _list(args: argparse.Namespace) -> None:
    from lensequiv import list_models, list_pretrained, pretrained_info

    print("models (lensequiv.create_model):")
    for name in list_models(args.pattern):
        print(f"  {name}")
    print("trained weights (lensequiv.from_pretrained):")
    for name in list_pretrained(args.pattern):
        test = pretrained_info(name)["info"]["metrics"]["test"]
        print(
            f"  {name}  test AUC {test['auc_micro']:.4f}, "
            f"accuracy {100 * test['accuracy']:.1f} %"
        )
