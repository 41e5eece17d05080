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
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from accelerate import Accelerator
from checks import check_images, check_room, choose_size, half_if_harmless
from finetune_options import arguments
from finish import calibrate_if_possible, network_facts
from lenses import StoredLenses
from linear import linear_check, linear_verdict
from option_types import precision_on
from sets import Scales, Sets, SimulatedSet, at_scale, open_sets
from torch import Tensor
from tuning import CHECKPOINT, Tuning

import lensequiv
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation import evaluate
from lensequiv.inference import device_name, resolve_device
from lensequiv.models import LensNetwork


@dataclass(frozen=True)
class Run:
    """What a run works on.

    Attributes:
        model: The weight with its new head.
        lenses: Training images.
        val: Validation images (N, C, H, W), at the network's scale, and labels (N,).
        sets: All of them, as they are on disk.
        scales: Between which pixel scales images of the sets are brought, if at all.
    """

    model: LensNetwork
    lenses: StoredLenses
    val: tuple[Tensor, Tensor]
    sets: Sets
    scales: Scales


def begin(args: argparse.Namespace) -> Run:
    """Opens all that a run needs, and checks it.

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
    val = at_scale(sets.val.load_arrays(), scales)
    check_images(model, sets.val, val)
    if sets.test is not None:
        check_images(model, sets.test, scales=scales)
    run = Run(model, lenses, (val, sets.val.labels), sets, scales)
    print("; ".join([*counted(run), told_scale(theirs, trained_at, scales)]))
    return run


def counted(run: Run) -> list[str]:
    """How many images of what classes there are, and what the network sees of them."""
    sets, lenses = run.sets, run.lenses
    told = [f"{len(lenses.labels)} training and {len(sets.val)} validation images"]
    told += [f"{len(sets.test)} test images"] if sets.test is not None else []
    told += [f"classes {', '.join(lenses.classes)}"]
    return [*told, f"input {run.model.input_size} pixels"]


def told_scale(theirs: float | None, trained_at: float | None, scales: Scales) -> str:
    """The pixel scale of the images, and what becomes of it."""
    if theirs is None:
        return "of unknown scale"
    if scales is not None:
        return f"{theirs:g} arcsec a pixel, resampled to the weight's {trained_at:g}"
    told = f"{theirs:g} arcsec a pixel"
    if trained_at and trained_at != theirs:
        told += f" (the weight: {trained_at:g})"
    return told


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
    run = begin(args)
    model, lenses, val = run.model, run.lenses, run.val
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
    model.weights_info = card(
        tuning, check, statistics_ranges(model.preprocess(val[0]))
    )
    model.save_pretrained(args.out)  # what follows may fail
    if not ended:
        print(f"{args.out} holds the weights, without scores", file=sys.stderr)
        sys.exit(130)
    score(args, model, run)
    (args.out / CHECKPOINT).unlink(missing_ok=True)
    print(f"{args.out} holds the weights and their card (README.md)")


def card(tuning: Tuning, check: float, ranges: dict[str, Any]) -> dict[str, Any]:
    """What the weights' card says, but for the scores.

    Args:
        tuning: After its last step.
        check: What the linear check found.
        ranges: Of the validation images' statistics.
    """
    args, model = tuning.args, tuning.model
    return {
        "fine_tuned": {
            "from": None if args.scratch else args.weights,
            "images": len(tuning.lenses.labels),
            "steps": tuning.done,
            "best_step": tuning.best_step or tuning.done,
            "seed": args.seed,
            "linear_check": round(check, 4),
            "command": shlex.join(["lensequiv", "finetune", *args.argv]),
            "date": datetime.now(UTC).date().isoformat(),
            "history": tuning.history,
        },
        "image_statistics": ranges,
        **network_facts(model),
    }


def score(args: argparse.Namespace, model: LensNetwork, run: Run) -> None:
    """Scores the weights on the validation and test images, and saves them with it."""
    told = []
    for name, data in (("validation", run.sets.val), ("test", run.sets.test)):
        if data is None:
            print(f"no test scores: {args.data} holds no test set")
            continue
        assert not isinstance(data, SimulatedSet)  # all are in args.data
        try:
            found = evaluate(
                model,
                data,
                pixel_scale=args.pixel_scale,
                resample=run.scales is not None,
                rotated=False,
                resamples=0,
                progress=True,
            )
        except Exception:
            print(f"no {name} scores; {args.out} holds the weights without them")
            raise
        scores, info = found.as_is.summary(), model.weights_info
        tuned = {**info["fine_tuned"], name: scores}
        model.weights_info = {**info, "fine_tuned": tuned}
        model.save_pretrained(args.out)
        told.append(
            f"{name}: accuracy {scores['accuracy']:.4f}, micro AUC "
            f"{scores['auc_micro']:.4f}, calibration error "
            f"{scores['calibration_error']:.4f}, {scores['images']} images"
        )
    print("\n".join(told))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before or after the steps
        sys.exit(130)
