"""`lensequiv evaluate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lensequiv.cli._types import Commands
from lensequiv.cli._weights import add_reading, chosen_device, load, reading

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    evaluate = commands.add_parser(
        "evaluate",
        help="score weights on a labelled data set, or on lenses changed in one thing "
        "at a time",
    )
    data = evaluate.add_argument(
        "data", metavar="DIR", help="folder of class folders, or HDF5 file"
    )
    # Not nargs="?", which Python 3.11 takes for empty if options stand before DIR.
    data.required = False
    evaluate.add_argument(
        "--perturb",
        metavar="RECIPE",
        help="in place of DIR: simulate lenses of this recipe, one thing at a time "
        "changed (extra: sim)",
    )
    evaluate.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="with --perturb: for each change (default: 600)",
    )
    evaluate.add_argument("--weights", required=True, metavar="NAME", help="or folder")
    evaluate.add_argument(
        "--report",
        type=Path,
        metavar="OUT",
        help="folder, for evaluation.json and evaluation.html; or a .json, .html or "
        ".md file (extra: plots, but for .json); with --perturb perturbations.json, "
        ".csv and .html, or a .csv file besides",
    )
    evaluate.add_argument(
        "--no-rotated", action="store_true", help="only the images as they are"
    )
    evaluate.add_argument(
        "--limit", type=int, metavar="N", help="the first N images, of each class alike"
    )
    evaluate.add_argument(
        "--seed",
        type=int,
        help="of angles and bootstrap, or of the lenses with --perturb (default: 0)",
    )
    evaluate.add_argument("--resamples", type=int, metavar="B", help="default: 1000")
    evaluate.add_argument(
        "--precision", choices=("fp32", "tf32", "bf16"), default="fp32"
    )
    add_reading(evaluate, "their headers or the manifest")
    evaluate.set_defaults(run=_evaluate, usage_error=evaluate.error)


def _evaluate(args: argparse.Namespace) -> None:
    if (args.data is None) == (args.perturb is None):
        args.usage_error("expected either DIR or --perturb RECIPE")
    if args.perturb is not None:
        _perturb(args)
        return
    if args.images is not None:
        raise ValueError("--images: only with --perturb RECIPE; --limit is for DIR")
    from lensequiv.evaluation import evaluate
    from lensequiv.reports import check_report, table, write_report

    resamples = 1000 if args.resamples is None else args.resamples
    if args.seed is not None and args.no_rotated and not resamples:
        raise ValueError(
            "--seed is that of angles and bootstrap; leave it out with --no-rotated "
            "--resamples 0"
        )
    if args.report:
        check_report(args.report)  # before minutes of work, not after
    args.device = chosen_device(args.device)
    result = evaluate(
        load(args.weights, args.input_size),
        args.data,
        **reading(args),
        rotated=not args.no_rotated,
        seed=args.seed or 0,
        limit=args.limit,
        precision=args.precision,
        resamples=resamples,
        name=args.weights,
        progress=True,
    )
    print(table(result))
    if args.report:
        files = write_report(result, args.report)
        print(f"written to {', '.join(map(str, files))}", file=sys.stderr)


def _perturb(args: argparse.Namespace) -> None:
    from lensequiv.evaluation import perturb
    from lensequiv.reports import (
        check_perturbations,
        perturbations_table,
        write_perturbations,
    )
    from lensequiv.simulation import load_recipe

    of_files = {
        "--no-rotated": args.no_rotated,
        "--limit": args.limit is not None,
        "--resamples": args.resamples is not None,
        "--plane": args.plane is not None,
        "--hdu": args.hdu is not None,
        "--pixel-scale": args.pixel_scale is not None,
        "--resample": args.resample,
    }
    if useless := [name for name, given in of_files.items() if given]:
        raise ValueError(f"{', '.join(useless)}: not with --perturb, but for DIR")
    if args.report:
        check_perturbations(args.report)  # before minutes of work, not after
    result = perturb(
        load(args.weights, args.input_size),
        load_recipe(args.perturb),
        n=600 if args.images is None else args.images,
        seed=args.seed or 0,
        batch_size=args.batch_size,
        precision=args.precision,
        device=chosen_device(args.device),
        name=args.weights,
        progress=True,
    )
    print(perturbations_table(result))
    if args.report:
        files = write_perturbations(result, args.report)
        print(f"written to {', '.join(map(str, files))}", file=sys.stderr)
