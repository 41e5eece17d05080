"""Trains a head that tells quantities of lenses, with their uncertainty.

    python examples/quantities.py c8-modelJ --fresh modelJ --out runs/q --minutes 20
    python examples/quantities.py d8 --fresh deeplensesim1 --whole --size 113 \
        --out runs/axion1 --minutes 20

The first form puts a head on a weight whose body and classes stay as they are, to the
last bit. With `--whole` everything is trained, classes and quantities together, from a
weight or from the name of an architecture. Training lenses are simulated on the way,
on the device that trains, and none is seen twice; the loss is the negative logarithm of
the posterior density at the truth, where a quantity is defined (with `--whole` plus the
cross-entropy of the classes). `OUT/best` is loadable from the first evaluation on, and
replaced when lenses held out for that say that it got better. At the end the intervals
are calibrated on other held-out lenses and scored on yet others; `OUT/weights` is the
folder for `lensequiv.from_pretrained`. A run that was cut short goes on from its
checkpoint with the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch
from finish import calibrate_if_possible, images_to_calibrate
from head_options import add_training_options, parsed
from option_types import number, whole
from quantity_training import Held, Training, spec_of
from sets import VALIDATION, Sets, simulated_set

import lensequiv
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation.quantities import (
    calibrated,
    score_quantities,
    spread_whole,
    standardised,
    tarp,
)
from lensequiv.models import LensNetwork
from lensequiv.simulation import QUANTITIES
from lensequiv.spec import QuantitiesSpec

DRAWS = 200  # from every posterior, to test them jointly


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("start", help="a weight or its folder, or an architecture's name")
    p.add_argument(
        "--fresh",
        metavar="RECIPE",
        required=True,
        type=lambda names: names.split(","),
        help="of the lenses; several recipes, with commas, are mixed",
    )
    p.add_argument(
        "--quantities",
        type=lambda names: names.split(","),
        help=f"some of {', '.join(QUANTITIES)} (default: all that vary)",
    )
    p.add_argument("--batch-size", type=whole(8), default=256)
    p.add_argument(
        "--repeat",
        type=whole(0),
        default=4,
        help="for the head alone: steps on earlier embeddings after each fresh batch",
    )
    p.add_argument("--weight-decay", type=number(0), default=1e-3)
    p.add_argument("--hidden", type=whole(1), default=128)
    p.add_argument("--components", type=whole(1), default=4, help="Gaussians")
    p.add_argument("--size", type=whole(1), help="side of the input in pixels")
    p.add_argument("--options", type=json.loads, default={}, help="of a new network")
    add_training_options(p)
    return parsed(p, argv, sys.argv[1:], rates=(0.002, 0.008))


def scores_of(held: Held, spec: QuantitiesSpec) -> dict[str, Any]:
    """How well quantities are told, for the card."""
    scores = [
        {
            name: value if isinstance(value, str) else round(value, 5)
            for name, value in score._asdict().items()
        }
        for score in score_quantities(held.quantiles, held.truth, spec)
    ]
    found: dict[str, Any] = {"scores": scores}
    if len(scores) > 1 and bool((~held.truth.isnan().any(1)).any()):
        even = standardised(spread_whole(held.truth, spec), spec)
        draws = held.mixture.sample(DRAWS, torch.Generator().manual_seed(0))
        joint = tarp(draws, even)
        found["joint_deviation"] = round(joint.deviation, 4)
        found["joint_lenses"] = joint.lenses
    return found


def finish(training: Training) -> None:
    """Calibrates the best weights on held-out lenses, scores them on others."""
    args = training.args
    model: LensNetwork = lensequiv.from_pretrained(
        args.out / "best", device=args.device
    )
    info = dict(model.weights_info)
    info["quantities_training"] = {
        **info["quantities_training"],
        "minutes": round(training.seconds / 60, 1),
        "validation": training.history,
    }
    if args.whole:
        val = simulated_set(args.fresh[0], VALIDATION, args.seed + 2, args.device)
        sets = Sets(None, val, None, val.classes)
        images, labels = images_to_calibrate(model, sets, args.fresh)
        calibrate_if_possible(model, images, labels)
        info["image_statistics"] = statistics_ranges(model.preprocess(images))
        info["cost"] = {"parameters": sum(p.numel() for p in model.parameters())}
    held = training.held(model, args.seed + 2)
    model.quantities_spec = calibrated(held.mixture, held.truth, spec_of(model))
    held = training.held(model, args.seed + 3)
    scores = scores_of(held, spec_of(model))
    if args.whole:
        scores["accuracy"] = round(float(held.right.double().mean()), 4)
    info["metrics"] = {**info.get("metrics", {}), "quantities": scores}
    folder = model.cpu().save_pretrained(args.out / "weights", info=info)
    print(f"{json.dumps(scores, indent=2)}\nwritten to {folder}")


def main() -> None:
    """Trains, calibrates, scores, saves; goes on where training had ended."""
    args = arguments()
    torch.backends.cudnn.benchmark = True  # all batches are of one shape
    args.out.mkdir(parents=True, exist_ok=True)
    training = Training(args)
    training.resume()
    training.run()
    if not args.no_finish:
        finish(training)


if __name__ == "__main__":
    main()
