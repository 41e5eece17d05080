"""The end of a training run: calibrate, score the test set once, write the weights."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from sets import Sets, manifest, path_of
from torch import Tensor

import lensequiv
from lensequiv.domain import statistics_ranges
from lensequiv.equivariance import equivariance_error
from lensequiv.evaluation import evaluate
from lensequiv.inference import calibrate
from lensequiv.models import LensModel


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """A checkpoint that is either the old one or the new one, never half of one."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def calibrate_if_possible(model: LensModel, images: Tensor, labels: Tensor) -> None:
    """`calibrate` with validation images; too few are no reason to lose a run."""
    # What a weight that training started from brought along is not this model's.
    model.temperature, model.domain = 1.0, None
    try:
        calibrate(model, images, labels)
    except ValueError as error:
        print(f"not calibrated: {error}")


def write_weights(
    args: argparse.Namespace,
    seconds: float,
    history: list[dict[str, Any]],
    trained_on: dict[str, Any],
    sets: Sets,
    accelerator: Accelerator,
) -> None:
    """Writes `OUT/weights`, scores them on the test set once, writes the scores, too.

    Args:
        args: Of `train.py`.
        seconds: The run took.
        history: Of the validation scores.
        trained_on: What `Lenses.describe` says.
        sets: Of the run.
        accelerator: Of the run.
    """
    model = lensequiv.from_pretrained(args.out / "best")
    images, labels = sets.val.load_arrays(), sets.val.labels
    calibrate_if_possible(model, images, labels)
    info: dict[str, Any] = {
        "trained_on": described(trained_on, sets),
        "training": {
            "command": " ".join(["python examples/train.py", *sys.argv[1:]]),
            "images_seen": args.steps * args.batch_size,
            "minutes": round(seconds / 60, 1),
            "started_from": args.init,
            "before": earlier_run(args.init),
            "machine": f"{platform.machine()}, {accelerator.num_processes} processes "
            f"of {torch.get_num_threads()} threads on {accelerator.device.type}",
            "date": datetime.now(UTC).date().isoformat(),
            "validation": history,
        },
        "cost": {"parameters": sum(p.numel() for p in model.parameters())},
        "image_statistics": statistics_ranges(model.preprocess(images)),
        "licence": "MIT",
        "versions": {
            "lensequiv": lensequiv.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    with contextlib.suppress(NotImplementedError):  # no plain form, whose work is told
        info["cost"]["multiply_adds"] = model.multiply_adds()
    model.weights_info = info
    folder = model.save_pretrained(args.out / "weights")
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
        "test": test.as_is.summary(),
        "test_rotated": test.rotated.summary(),
        "grid_invariance": max(equivariance_error(model, images[:64]).values()),
    }
    model.weights_info = {**info, "metrics": scores}
    model.save_pretrained(folder)
    print(json.dumps(scores, indent=2))


def described(trained_on: dict[str, Any], sets: Sets) -> dict[str, Any]:
    """What is known of the sets, for the card; `trained_on` is of the training set."""
    found: dict[str, Any] = {}
    if recipe := trained_on.get("recipe"):
        found["recipe"] = recipe
    apart = ("recipe", "simulated_with")
    found["train"] = {k: v for k, v in trained_on.items() if k not in apart}
    for split, data in (("val", sets.val), ("test", sets.test)):
        if data is not None:
            found[split] = {"images": len(data)}
            if (seed := manifest(path_of(data)).get("seed")) is not None:
                found[split]["seed"] = seed
    if versions := trained_on.get("simulated_with"):
        found["simulated_with"] = versions
    return found


def earlier_run(init: str | None) -> dict[str, Any] | None:
    """The run that made the weights which this one started from, if it is known."""
    if init is None:
        return None
    info = lensequiv.from_pretrained(init).weights_info
    if "training" not in info:
        return None
    return {**info["training"], "trained_on": info.get("trained_on", {})}
