"""Trains a map of the substructure on top of a weight.

    python examples/map_head.py c8-modelJ@2 --out runs/c8-modelJ-map --minutes 60
    python examples/map_head.py c8-modelJ@2 --whole --out runs/j0946 --minutes 60 \
        --fresh examples/recipe_j0946.py --einstein-radius 0.0862

By default the body is frozen, so that logits, temperature and domain stay those of the
weight, to the last bit. Training lenses are simulated on the way, on the device that
trains: of `--fresh`, or Model J, Model J with its uncertainties drawn anew for each
lens, and, half of the time, lenses with few subhalos, which say where one is. With
`--whole` everything is trained, for the classes of the recipes.

The loss is proper: quantiles of the convergence (16, 50 and 84 %) and cross-entropy of
the presence of a subhalo (with `--whole` plus that of the classes). `OUT/best` is
loadable from the first evaluation on, and replaced when lenses held out for that say
that it got better. At the end both are calibrated on fresh lenses of another seed, and
the thresholds of 10 % and 1 % false alarms are taken from fresh smooth lenses of a
third one. `OUT/weights` is the folder for `lensequiv.from_pretrained`. A run that was
cut short goes on from its checkpoint with the same command.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from finish import calibrate_if_possible
from head_options import add_training_options, parsed
from map_targets import (
    EINSTEIN_RADIUS,
    MASS,
    calibrate_head,
    presence_error,
    shares,
)
from map_training import Training
from option_types import number, whole

import lensequiv
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation.detection import alarm_threshold
from lensequiv.models import LensNetwork
from lensequiv.simulation import (
    NoSubstructure,
    Recipe,
    Subhalos,
    get_recipe,
    load_recipe,
    simulate,
)

model_j = get_recipe("modelJ")
# Few subhalos, their masses spread evenly in the logarithm.
few = replace(
    model_j,
    name="modelJ-few",
    substructure={
        **model_j.substructure,
        "sphere": Subhalos(number=(0.5, 4.0), mass=(1e8, 3e10), slope=-1.0),
    },
)
RECIPES = (model_j, few, get_recipe("modelJ-varied"), few)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("start", help="a weight or its folder, of a steerable network")
    p.add_argument(
        "--fresh",
        metavar="RECIPE",
        type=lambda names: names.split(","),
        help="of the lenses, names or files; several, with commas, are mixed "
        "(default: those of Model J)",
    )
    p.add_argument("--batch-size", type=whole(8), default=64)
    p.add_argument("--repeat", type=whole(0), default=1, help="steps on earlier lenses")
    p.add_argument("--weight-decay", type=number(0), default=1e-2)
    p.add_argument("--fields", type=whole(1), default=8, help="of the head")
    p.add_argument(
        "--einstein-radius",
        type=number(1e-6),
        default=EINSTEIN_RADIUS,
        help="of the lightest mass that counts as a subhalo, in arcsec",
    )
    p.add_argument("--mass", type=number(1), default=MASS, help="what that is, in Msun")
    p.add_argument(
        "--smooth", type=whole(100), default=3000, help="lenses for thresholds"
    )
    add_training_options(p)
    return parsed(p, argv, sys.argv[1:], rates=(0.004, 0.004))


def without_substructure(recipe: Recipe) -> Recipe:
    """The recipe of smooth lenses alone."""
    kinds = recipe.substructure.items()
    none = {name: kind for name, kind in kinds if isinstance(kind, NoSubstructure)}
    return replace(recipe, name=f"{recipe.name}-smooth", substructure=none)


def calibrate_classes(
    model: LensNetwork, recipe: Recipe, args: argparse.Namespace
) -> dict[str, Any]:
    """Temperature and domain of classes that were trained along, and what cards say."""
    each = -(-args.held_out // len(recipe.classes)) * len(recipe.classes)
    lenses = simulate(recipe, each, seed=args.seed + 4)
    images = torch.as_tensor(lenses.images)[:, None]
    calibrate_if_possible(model, images, torch.as_tensor(lenses.labels))
    return {
        "image_statistics": statistics_ranges(model.preprocess(images)),
        "cost": {"parameters": sum(p.numel() for p in model.parameters())},
    }


def finish(training: Training) -> None:
    """Calibrates the best weights, measures thresholds, scores, and saves."""
    args, recipe = training.args, load_recipe(training.recipes[0])
    model: Any = lensequiv.from_pretrained(args.out / "best", device=args.device)
    info = dict(model.weights_info)
    info["map_training"] = {
        **info["map_training"],
        "minutes": round(training.seconds / 60, 1),
        "validation": training.history,
    }
    calibrate_head(model.map_head, training.held(model, args.seed + 2)[0])
    images = simulate(without_substructure(recipe), args.smooth, seed=args.seed + 2)
    highest = np.array([one.score for one in model.predict_map(images.images)])
    limits = {str(f): alarm_threshold(highest, f) for f in (0.1, 0.01)}
    model.map_spec = replace(model.map_spec, thresholds=limits)
    found, accuracy = training.held(model, args.seed + 3)
    scores: dict[str, Any] = {"lenses": args.held_out}
    names = "below_interval", "within_interval", "above_interval"
    # Of a map that sees nothing anywhere there is no share.
    scores |= {
        name: round(share, 4)
        for name, share in zip(names, shares(found), strict=True)
        if math.isfinite(share)
    }
    scores |= {
        "presence_error": round(presence_error(found), 5),
        "smooth_lenses": args.smooth,
    }
    if args.whole:
        info |= calibrate_classes(model, recipe, args)
        scores["accuracy"] = round(accuracy, 4)
    info["metrics"] = {**info.get("metrics", {}), "map": scores}
    folder = model.cpu().save_pretrained(args.out / "weights", info=info)
    print(f"{json.dumps(scores)}, thresholds {limits}: written to {folder}")


def main() -> None:
    """Trains, calibrates, scores, saves; goes on where training had ended."""
    args = arguments()
    torch.backends.cudnn.benchmark = True  # all batches are of one shape
    args.out.mkdir(parents=True, exist_ok=True)
    training = Training(args, args.fresh or RECIPES)
    training.resume()
    training.run()
    if not args.no_finish:
        finish(training)


if __name__ == "__main__":
    main()
