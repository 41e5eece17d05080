"""Fine-tune a published weight on another simulation: other lenses, classes, channels.

    lensequiv simulate deeplensesim1 --images 7500 --seed 21 data/mine/train
    lensequiv simulate deeplensesim1 --images 1500 --seed 22 data/mine/val
    lensequiv simulate deeplensesim1 --images 3000 --seed 23 data/mine/test
    lensequiv finetune c8-modelJ --data data/mine --out runs/mine --images 750

`python examples/finetune.py` does the same as `lensequiv finetune`. First a linear
check: logistic regression on the frozen embedding. If that is no better than chance,
the trained features say nothing about these classes. Then the head alone is trained,
then all layers, the first ones at the lowest rate; `--head-share 1` leaves the body
frozen. Validation images decide which state is kept, and when it is enough.
`--scratch` trains the same architecture from random weights instead, for comparison.

Images of another pixel scale than the weight's are resampled to that, if both are
known, so that rings are as large as the weight knows them; `--no-resample` leaves them.
They may have any size from the network's smallest on: those below the weight's input
size are taken in the largest one that fits (`--size` chooses another).
Where there is no `test/`, no test scores are written. A run that was killed goes on
when the same command is given again.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from finish import calibrate_if_possible
from lenses import StoredLenses
from linear import linear_check, linear_verdict
from option_types import (
    add_image_options,
    add_precision_option,
    number,
    precision_on,
    whole,
)
from sets import (
    Sets,
    SimulatedSet,
    at_scale,
    check_images,
    check_room,
    choose_size,
    half_if_harmless,
    open_sets,
)
from tuning import CHECKPOINT, Tuning

import lensequiv
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation import evaluate
from lensequiv.inference import device_name, resolve_device
from lensequiv.models import LensNetwork


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `argv` in its place."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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


Scales = tuple[float, float] | None


def begin(
    args: argparse.Namespace,
) -> tuple[LensNetwork, Sets, StoredLenses, Scales]:
    """The weight with its new head, and the images, after all checks.

    Returns:
        Network, sets, training images, and from which pixel scale to which those of
        the sets are to be brought, or None.

    Raises:
        FileExistsError: `--out` holds something, but no checkpoint.
    """
    out = args.out
    used = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if used and not (out / CHECKPOINT).exists():
        raise FileExistsError(f"--out {out} is not empty: choose a new name")
    sets = open_sets(args.data, plane=args.plane)
    assert sets.train is not None
    lenses = StoredLenses(
        sets.train, args.batch_size, seed=args.seed, limit=args.images
    )
    model = lensequiv.from_pretrained(
        args.weights,
        num_classes=len(lenses.classes),  # a new head, even for the trained names
        classes=lenses.classes,
        in_channels=lenses.channels,
    )
    usual, trained_at = model.input_size, model.pixel_scale
    theirs = args.pixel_scale or lenses.scale
    scales = None
    lenses.load(**half_if_harmless(model))
    if args.resample and trained_at and theirs and trained_at != theirs:
        scales = theirs, trained_at
        lenses.bring_to(scales)
    model.set_input_size(choose_size(model, args.size, lenses.side, usual))
    model.pixel_scale = theirs if scales is None else trained_at
    check_room(out, model, copies=12)
    check_images(model, lenses.data, lenses.load())
    for data in (sets.val, sets.test):
        if data is not None:
            images = None if scales is None else at_scale(data.load_arrays(), scales)
            check_images(model, data, images)
    told = [f"{len(lenses.labels)} training and {len(sets.val)} validation images"]
    told += [f"{len(sets.test)} test images"] if sets.test is not None else []
    told += [f"classes {', '.join(lenses.classes)}", f"input {model.input_size} pixels"]
    if theirs is None:
        told += ["of unknown scale"]
    elif scales is not None:
        told += [f"{theirs:g} arcsec a pixel, resampled to the weight's {trained_at:g}"]
    else:
        told += [f"{theirs:g} arcsec a pixel"]
        if trained_at and trained_at != theirs:
            told[-1] += f" (the weight: {trained_at:g})"
    print("; ".join(told))
    return model, sets, lenses, scales


def fresh_weights(model: LensNetwork) -> LensNetwork:
    """The same network from random weights."""
    fresh = lensequiv.create_model(model.name, **model.config)
    fresh.set_input_size(model.input_size)
    fresh.preprocess, fresh.classes = model.preprocess, model.classes
    fresh.pixel_scale = model.pixel_scale
    return fresh


def main(argv: Sequence[str] | None = None) -> None:
    """Checks, tunes, calibrates, saves, scores, saves the scores."""
    args = arguments(argv)
    device = resolve_device(args.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if device.type != "cpu":
        print(f"on {device_name(device)}")
    args.precision = precision_on(device, args.precision)
    torch.manual_seed(args.seed)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if args.precision == "bf16" else "no",
    )
    model, sets, lenses, scales = begin(args)
    val = at_scale(sets.val.load_arrays(), scales), sets.val.labels
    if not (args.out / CHECKPOINT).exists():
        trained = model.to(device)
        check = linear_check(trained, (lenses.load(), lenses.labels), val)
        print(linear_verdict(check, val[1]))
    if args.scratch:
        model = fresh_weights(model)
    tuning = Tuning(model, lenses, val, args, accelerator)
    if (before := tuning.resume(args.out)) is not None:
        check = before
    ended = tuning.run(args.out, check)
    if not tuning.done:
        sys.exit(130)  # as a shell has it after Ctrl-C; nothing was learnt
    tuning.finish()
    calibrate_if_possible(model, *val)
    ranges = statistics_ranges(model.preprocess(val[0]))
    write(args, tuning, sets, scales, ranges, check, ended)


def write(
    args: argparse.Namespace,
    tuning: Tuning,
    sets: Sets,
    scales: Scales,
    ranges: dict[str, Any],
    check: float,
    ended: bool,
) -> None:
    """Saves the weights with their card, scores them, and saves them with the scores.

    Args:
        args: Of the run.
        tuning: After its last step.
        sets: Validation and test images.
        scales: Between which they are to be resampled, or None.
        ranges: Of the validation images' statistics.
        check: What the linear check found.
        ended: Whether the run was not interrupted; else there are no scores.
    """
    model = tuning.model
    tuned: dict[str, Any] = {
        "from": None if args.scratch else args.weights,
        "images": len(tuning.lenses.labels),
        "steps": tuning.done,
        "best_step": tuning.best_step or tuning.done,
        "seed": args.seed,
        "linear_check": round(check, 4),
        "command": shlex.join(["lensequiv", "finetune", *args.argv]),
        "date": datetime.now(UTC).date().isoformat(),
        "history": tuning.history,
    }
    versions = {
        "lensequiv": lensequiv.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }

    def save() -> None:
        model.weights_info = {
            "fine_tuned": dict(tuned),
            "image_statistics": ranges,
            "cost": {"parameters": sum(p.numel() for p in model.parameters())},
            "licence": "MIT",
            "versions": versions,
        }
        model.save_pretrained(args.out)

    save()  # what follows may fail
    if not ended:
        print(f"{args.out} holds the weights, without scores", file=sys.stderr)
        sys.exit(130)
    for name, data in (("validation", sets.val), ("test", sets.test)):
        if data is None:
            print(f"no test scores: {args.data} holds no test set")
            continue
        assert not isinstance(data, SimulatedSet)  # all are in args.data
        try:
            found = evaluate(
                model,
                data,
                pixel_scale=args.pixel_scale,
                resample=scales is not None,
                rotated=False,
                resamples=0,
                progress=True,
            )
        except Exception:
            print(f"no {name} scores; {args.out} holds the weights without them")
            raise
        tuned[name] = found.as_is.summary()
        save()
    (args.out / CHECKPOINT).unlink(missing_ok=True)
    for name in ("validation", "test"):
        if scores := tuned.get(name):
            print(
                f"{name}: accuracy {scores['accuracy']:.4f}, micro AUC "
                f"{scores['auc_micro']:.4f}, calibration error "
                f"{scores['calibration_error']:.4f}, {scores['images']} images"
            )
    print(f"{args.out} holds the weights and their card (README.md)")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before or after the steps
        sys.exit(130)
