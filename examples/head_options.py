"""The command lines of `quantities.py` and `map_head.py`, as far as they are alike."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from option_types import (
    add_precision_option,
    add_resampled_option,
    number,
    precision_on,
    whole,
)

from lensequiv.inference import resolve_device


def add_training_options(p: argparse.ArgumentParser) -> None:
    """What every head's training can be told."""
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--whole", action="store_true", help="train the body, too")
    p.add_argument("--minutes", type=number(0.001), help="in place of --steps")
    p.add_argument("--steps", type=whole(2), default=4000)
    p.add_argument("--lr", type=number(1e-12), help="peak of the one-cycle")
    p.add_argument("--warm-up", type=number(0, 1), default=0.1)
    p.add_argument("--ema", type=number(0, 0.999999), default=0.998)
    p.add_argument("--class-weight", type=number(0), default=0.3, help="of their loss")
    p.add_argument("--evaluations", type=whole(1), default=6)
    p.add_argument(
        "--norm-images",
        type=whole(1),
        default=4096,
        help="images for the batch-norm statistics of the averaged weights",
    )
    p.add_argument("--held-out", type=whole(8), default=6000, help="lenses, each time")
    add_resampled_option(p)
    p.add_argument("--shift", type=whole(0), default=6, help="of lenses, in pixels")
    p.add_argument(
        "--no-finish",
        action="store_true",
        help="end with the last evaluation; the same command without this finishes it, "
        "on any device",
    )
    p.add_argument("--seed", type=whole(0), default=0)
    p.add_argument("--device", default="auto")
    add_precision_option(p)


def parsed(
    p: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    given: Sequence[str],
    rates: tuple[float, float],
) -> argparse.Namespace:
    """The command line, with what follows from it.

    Args:
        p: With `add_training_options`.
        argv: In place of `given`.
        given: The command line of the process.
        rates: Peak learning rates of the head alone, and with `--whole`.
    """
    args = p.parse_args(argv)
    args.device = resolve_device(args.device)
    args.precision = precision_on(args.device, args.precision)
    args.lr = args.lr or rates[args.whole]
    args.argv = list(given if argv is None else argv)
    return args
