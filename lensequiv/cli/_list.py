"""`lensequiv list`."""

from __future__ import annotations

import argparse

from lensequiv._suggestions import did_you_mean
from lensequiv.cli._types import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    listing = commands.add_parser("list", help="models and trained weights")
    listing.add_argument("pattern", nargs="?", default="*", help="for instance 'c8*'")
    listing.set_defaults(run=_list)


def _list(args: argparse.Namespace) -> None:
    # Modules that need no torch: a list should come at once.
    from lensequiv.models.registry import list_models
    from lensequiv.weights._catalogue import list_pretrained, test_scores

    models, weights = list_models(args.pattern), list_pretrained(args.pattern)
    if not models and not weights:
        known = [*list_models(), *list_pretrained()]
        raise ValueError(
            f"nothing matches {args.pattern!r}; {did_you_mean(args.pattern, known)}"
            f"there are {', '.join(known)}"
        )
    print("models (lensequiv.create_model):")
    for name in models:
        print(f"  {name}")
    print("trained weights (lensequiv.from_pretrained):")
    for name in weights:
        test = test_scores(name)
        print(
            f"  {name}  test AUC {test['auc_micro']:.4f}, "
            f"accuracy {100 * test['accuracy']:.1f} %"
        )
