"""The end of a training run: calibrate, score the test set once, write the weights.

`train.py` does it by itself where there is a test set. A run that was trained elsewhere
(`--no-test`, `campaign.py`) is finished by

    python examples/finish.py runs/c8-modelJ --data data/modelJ
    python examples/finish.py runs/axion1 --from weights --data data/deeplensesim1

The second line adds the scores of the classes to what `quantities.py` wrote, whose
intervals are calibrated already. What was trained on recipes of yours needs them again:
`--fresh mine.json,modelJ`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from option_types import number
from sets import Sets, SimulatedSet, open_sets
from torch import Tensor
from unlike import different, which_can_be_scaled, without_either

import lensequiv
from lensequiv.domain import statistics_ranges
from lensequiv.equivariance import equivariance_error
from lensequiv.evaluation import evaluate
from lensequiv.inference import calibrate
from lensequiv.models import LensNetwork
from lensequiv.simulation import Recipe, load_recipe

SEED = 3  # of lenses simulated for the calibration alone


def calibrate_if_possible(
    model: LensNetwork, images: Tensor, labels: Tensor, **options: Any
) -> None:
    """`calibrate` with validation images; too few are no reason to lose a run."""
    # What a weight that training started from brought along is not this model's.
    model.temperature, model.domain = 1.0, None
    try:
        calibrate(model, images, labels, **options)
    except ValueError as error:
        print(f"not calibrated: {error}")


def images_to_calibrate(
    model: LensNetwork, sets: Sets, recipes: Sequence[str | Recipe]
) -> tuple[Tensor, Tensor]:
    """Validation images, and as many of each other recipe that was trained on.

    What the weights know is more than the validation set's recipe: what they were
    taught besides must not be called unlike it.

    Args:
        model: What is calibrated.
        sets: Of the run.
        recipes: That it was trained on, that of the validation set first.

    Returns:
        (N, C, H, W) images and (N,) labels.
    """
    images, labels = sets.val.load_arrays(), sets.val.labels
    others = different(map(load_recipe, recipes))[1:]
    if not others:
        return images, labels
    parts, truth = [_centre(model, images)], [labels]
    unit = 8 * len(model.classes)
    for i, recipe in enumerate(others):
        count = unit * max(1, len(labels) // unit)
        made = SimulatedSet(recipe, count, SEED + i, torch.device("cpu"))
        parts.append(_centre(model, made.load_arrays()))
        truth.append(made.labels)
    return torch.cat(parts), torch.cat(truth)


def images_unlike(
    model: LensNetwork, recipes: Sequence[str | Recipe], count: int
) -> Tensor:
    """(N, C, H, W) of what is no lens, see `unlike.py`: `count` in all, or some fewer.

    Those that cannot be scaled, and that `predict` would refuse, are left out.
    """
    chosen = without_either(map(load_recipe, recipes))
    unit = 8 * len(model.classes)
    each = unit * max(1, round(count / len(chosen) / unit))
    parts = []
    for i, recipe in enumerate(chosen):  # two of each, which share a seed
        made = SimulatedSet(recipe, each, SEED + i // 2, torch.device("cpu"))
        images = _centre(model, made.load_arrays())
        parts.append(images[which_can_be_scaled(model.preprocess, images)])
    return torch.cat(parts)


def _centre(model: LensNetwork, images: Tensor) -> Tensor:
    """What the network will see of images of any size."""
    top, left = model.preprocess.offset(*images.shape[-2:])
    side = model.input_size
    return images[..., top : top + side, left : left + side].float()


def write_weights(
    run: Path,
    sets: Sets,
    recipes: Sequence[str | Recipe],
    told: dict[str, Any] | None = None,
    start: str = "best",
    false_alarms: float = 0.01,
) -> None:
    """Calibrates `RUN/best`, scores it on the test set once, writes `RUN/weights`.

    Args:
        run: Folder of a run of `train.py`.
        sets: Validation and test images.
        recipes: That it was trained on, none if they are not known.
        told: Length and validation scores of the whole run; as they were when the
            best weights were written if None.
        start: Folder of the run to take in place of `best`.
        false_alarms: Share of images like the training ones that is to be flagged.
    """
    model = lensequiv.from_pretrained(run / start)
    info: dict[str, Any] = dict(model.weights_info)
    trained_on = info["trained_on"]["train"]
    images, labels = images_to_calibrate(model, sets, recipes)
    options: dict[str, Any] = {"false_alarms": false_alarms}
    if recipes and trained_on.get("unlike"):
        options["unlike"] = images_unlike(model, recipes, len(labels))
    calibrate_if_possible(model, images, labels, **options)
    info["trained_on"] = {**info["trained_on"], **sets.describe()}
    info["training"] = {**info["training"], **(told or {})}
    info["image_statistics"] = statistics_ranges(model.preprocess(images))
    with contextlib.suppress(NotImplementedError):  # no plain form, whose work is told
        info["cost"] = {**info["cost"], "multiply_adds": model.multiply_adds()}
    model.weights_info = info
    folder = model.save_pretrained(run / "weights")
    if sets.test is None:
        print(f"written to {folder}, without test scores: there is no test set")
        return
    try:
        test = evaluate(model, sets.test, resamples=0, progress=True)
    except Exception:
        print(f"the test set could not be scored; {folder} holds the weights without")
        raise
    assert test.rotated is not None
    scores = {
        **info.get("metrics", {}),  # of other heads
        "test": test.as_is.summary(),
        "test_rotated": test.rotated.summary(),
        "grid_invariance": max(equivariance_error(model, images[:64]).values()),
    }
    model.weights_info = {**info, "metrics": scores}
    model.save_pretrained(folder)
    print(json.dumps(scores, indent=2))


def run_information(
    args: argparse.Namespace,
    trained_on: dict[str, Any],
    sets: Sets,
    model: LensNetwork,
    accelerator: Accelerator,
    before: dict[str, Any] | None,
) -> dict[str, Any]:
    """What is known of a run, for the card, but for its length and its scores.

    Args:
        args: Of `train.py`.
        trained_on: What `Lenses.describe` says.
        sets: Of the run.
        model: What is trained.
        accelerator: Of the run.
        before: What `earlier_run` found.
    """
    kind = accelerator.device.type
    where = torch.cuda.get_device_name() if kind == "cuda" else kind
    return {
        "trained_on": {**recorded_training(trained_on), **sets.describe()},
        "training": {
            "command": shlex.join(["python", "examples/train.py", *args.argv]),
            "started_from": args.init,
            "before": before,
            "machine": f"{platform.machine()}, {accelerator.num_processes} processes "
            f"of {torch.get_num_threads()} threads on {where}",
            "date": datetime.now(UTC).date().isoformat(),
        },
        **network_facts(model),
    }


def network_facts(model: LensNetwork) -> dict[str, Any]:
    """What every card says of a network: size, licence, versions it was made with."""
    return {
        "cost": {"parameters": sum(p.numel() for p in model.parameters())},
        "licence": "MIT",
        "versions": {
            "lensequiv": lensequiv.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }


def recorded_training(trained_on: dict[str, Any]) -> dict[str, Any]:
    """What a card says of training images, from what `Lenses.describe` says."""
    apart = ("recipe", "simulated_with")
    return {
        **{key: trained_on[key] for key in apart if trained_on.get(key)},
        "train": {k: v for k, v in trained_on.items() if k not in apart},
    }


def earlier_run(init: str | None) -> dict[str, Any] | None:
    """The run that made the weights which this one started from, if it is known."""
    if init is None:
        return None
    info = lensequiv.from_pretrained(init).weights_info
    if "training" not in info:
        return None
    return {**info["training"], "trained_on": info.get("trained_on", {})}


def recorded_recipes(info: Mapping[str, Any]) -> list[str]:
    """Names of the recipes that a card says a network was trained on, if they matter.

    One alone is that of the validation images, but for what is no lens.
    """
    trained_on = info["trained_on"]
    one = [trained_on["recipe"]] if trained_on["train"].get("unlike") else []
    names: list[str] = trained_on["train"].get("recipes", one)
    return names


def main() -> None:
    """Finishes a run whose weights were not tested where it was made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run of train.py")
    parser.add_argument("--data", type=Path, required=True, help="holds val and test")
    parser.add_argument(
        "--from", dest="start", default="best", help="folder of the run to take"
    )
    parser.add_argument(
        "--fresh",
        metavar="RECIPE",
        type=lambda names: names.split(","),
        help="the recipes of the run, where some are files of yours",
    )
    parser.add_argument(
        "--false-alarms",
        type=number(1e-6, 0.5),
        default=0.01,
        help="share of validation images that is to be flagged (default: 0.01)",
    )
    args = parser.parse_args()
    if not (args.run / args.start / "config.json").is_file():
        parser.error(f"{args.run} holds no {args.start}/; expected a run of train.py")
    model = lensequiv.from_pretrained(args.run / args.start)
    sets = open_sets(args.data, classes=model.classes, simulated=True)
    recipes = args.fresh or recorded_recipes(model.weights_info)
    for name in recipes:
        try:
            load_recipe(name)
        except (OSError, ValueError) as error:
            parser.error(f"{error}; --fresh tells the recipes that the run was given")
    rate = args.false_alarms
    write_weights(args.run, sets, recipes, start=args.start, false_alarms=rate)


if __name__ == "__main__":
    main()
