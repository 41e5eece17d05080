"""The command line of `train.py`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from option_types import (
    add_image_options,
    add_precision_option,
    add_resampled_option,
    number,
    whole,
)

DESCRIPTION = "Train a model to tell lenses apart: the loop behind the bundled weights."


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `argv` in its place."""
    p = argparse.ArgumentParser(description=DESCRIPTION)
    p.add_argument("model", help="a name that lensequiv.list_models() knows")
    p.add_argument("--data", type=Path, help="holds train val test")
    p.add_argument("--out", type=Path, required=True, help="checkpoint and result")
    p.add_argument(
        "--fresh",
        metavar="RECIPE",
        type=lambda names: names.split(","),
        help="simulate the training images; several recipes, with commas, are mixed",
    )
    add_resampled_option(p)
    p.add_argument(
        "--ease",
        type=number(0, 1),
        default=0.0,
        help="how much easier the simulated lenses are than their recipe, to begin "
        "with: 0 to 1; see curriculum.py (default: 0)",
    )
    p.add_argument(
        "--exposures",
        type=whole(1),
        default=1,
        help="observe each simulated lens so often, with other noise each time, where "
        "simulating takes longer than training (default: 1)",
    )
    p.add_argument(
        "--matched",
        type=number(0),
        default=0.0,
        metavar="WEIGHT",
        help="show each simulated lens with every class's substructure, and weigh the "
        "loss that compares them; see matched.py (default: 0, lenses of their own)",
    )
    p.add_argument(
        "--unlike",
        type=number(0, 0.9),
        default=0.0,
        metavar="SHARE",
        help="of images without lens or without source, which the network learns to "
        "tell from lenses; see unlike.py (default: 0)",
    )
    p.add_argument("--images", type=whole(1), help="use so many stored training images")
    p.add_argument("--init", help="weight or folder whose body and head to start from")
    p.add_argument("--steps", type=whole(2), default=12000)
    p.add_argument("--minutes", type=number(0.001), help="in place of --steps")
    p.add_argument("--batch-size", type=whole(2), default=64, help="over all processes")
    p.add_argument(
        "--lr", type=number(1e-12), default=0.012, help="peak of the one-cycle"
    )
    p.add_argument(
        "--warm-up", type=number(0, 1), default=0.25, help="share of the run"
    )
    p.add_argument("--weight-decay", type=number(0), default=1e-2)
    p.add_argument(
        "--ema", type=number(0, 0.999999), default=0.998, help="decay per step"
    )
    p.add_argument(
        "--map-weight",
        type=number(0),
        default=10.0,
        help="of the auxiliary mass map, where the masses are known; 0: without",
    )
    p.add_argument("--evaluations", type=whole(1), default=6)
    p.add_argument(
        "--norm-images",
        type=whole(1),
        default=7680,
        help="images for the batch-norm statistics of the averaged weights",
    )
    p.add_argument(
        "--no-test",
        action="store_true",
        help="end with the last evaluation: OUT/best is the result (see finish.py)",
    )
    p.add_argument("--seed", type=whole(0), default=0)
    add_precision_option(p)
    p.add_argument(
        "--launch",
        choices=("graphs", "eager", "compile"),
        default="graphs",
        help="how the network's kernels reach a GPU: as recorded CUDA graphs (one "
        "process), one by one, or by torch.compile, which works on processors, too",
    )
    p.add_argument(
        "--size",
        type=whole(1),
        help="side of the input in pixels (default: 97, or the largest that fits into "
        "smaller images)",
    )
    p.add_argument("--options", type=json.loads, default={}, help="of the model, JSON")
    add_image_options(p)
    args = p.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    if args.data is None and not args.fresh:
        p.error("--data is needed, but for --fresh")
    of_lenses = (args.ease, args.exposures > 1, args.matched, args.unlike)
    if not args.fresh and any(of_lenses):
        p.error(
            "--ease, --exposures, --matched and --unlike are of simulated lenses: "
            "expected --fresh"
        )
    return args
