"""The command line of `finetune.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from option_types import add_image_options, add_precision_option, number, whole

DESCRIPTION = "Fine-tune a published weight on other lenses, classes or channels."


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `argv` in its place."""
    p = argparse.ArgumentParser(description=DESCRIPTION)
    p.add_argument("weights", help="name, folder or owner/name on the Hub")
    p.add_argument("--data", type=Path, required=True, help="holds train/ val/ test/")
    p.add_argument(
        "--out",
        type=Path,
        help="folder for the result (default: NAME-of-weights-NAME-of-data)",
    )
    p.add_argument(
        "--images", type=whole(1), help="train on so many, of each class alike"
    )
    p.add_argument("--steps", type=whole(2), default=1000, help="default: 1000")
    p.add_argument("--batch-size", type=whole(2), default=32, help="default: 32")
    p.add_argument("--lr", type=number(1e-12), default=4e-3, help="peak, of the head")
    p.add_argument(
        "--layer-decay",
        type=number(0, 1),
        default=0.8,
        help="rate of a layer over the next",
    )
    p.add_argument(
        "--head-share",
        type=number(0, 1),
        default=0.2,
        help="of the steps, for the head alone",
    )
    p.add_argument(
        "--evaluations",
        type=whole(1),
        default=10,
        help="scores on validation images; the best state is kept (default: 10)",
    )
    p.add_argument(
        "--patience",
        type=whole(1),
        default=3,
        help="scores in a row that may be no better before the run ends (default: 3)",
    )
    p.add_argument("--scratch", action="store_true", help="start from random weights")
    p.add_argument("--seed", type=whole(0), default=0)
    p.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]|mps",
        help="where to compute (default: auto, CUDA if there is any, else MPS, else "
        "the CPU)",
    )
    add_precision_option(p)
    p.add_argument(
        "--size",
        type=whole(1),
        help="side of the input in pixels (default: the weight's, or the largest that "
        "fits into smaller images)",
    )
    p.add_argument(
        "--resample",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="bring the images to the weight's pixel scale, where both are known",
    )
    add_image_options(p)
    args = p.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    if args.out is None:
        weights = Path(args.weights.rstrip("/")).name
        args.out = Path(f"{weights}-{args.data.expanduser().resolve().name}")
    return args
