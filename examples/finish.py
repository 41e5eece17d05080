"""The end of a training run: calibrate, score the test set once, write the weights."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from lenses import manifest
from torch import Tensor

import lensequiv
from lensequiv.data import ClassFolder
from lensequiv.domain import statistics_ranges
from lensequiv.equivariance import equivariance_error
from lensequiv.evaluation import evaluate
from lensequiv.models import LensModel
from lensequiv.trust import calibrate


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """A checkpoint that is either the old one or the new one, never half of one."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def calibrate_if_possible(model: LensModel, images: Tensor, labels: Tensor) -> None:
    """`calibrate` with validation images; too few are no reason to lose a run."""
    try:
        calibrate(model, images, labels)
    except ValueError as error:
        print(f"not calibrated: {error}")


def write_weights(
    args: argparse.Namespace,
    seconds: float,
    history: list[dict[str, Any]],
    trained_on: dict[str, Any],
    accelerator: Accelerator,
) -> None:
    """Scores the chosen weights on the test set and writes `OUT/weights`.

    Args:
        args: Of `train.py`.
        seconds: The run took.
        history: Of the validation scores.
        trained_on: What `Lenses.describe` says.
        accelerator: Of the run.
    """
    model = lensequiv.from_pretrained(args.out / "best")
    validation = ClassFolder(args.data / "val", classes=model.classes)
    images = validation.load_arrays(dtype=torch.float16).float()
    calibrate_if_possible(model, images, validation.labels)
    before = None
    if args.init:
        info = lensequiv.from_pretrained(args.init).weights_info
        if "training" in info:
            before = {**info["training"], "trained_on": info.get("trained_on", {})}
    test = evaluate(model, args.data / "test", resamples=0, progress=True)
    assert test.rotated is not None
    sets = {split: manifest(args.data / split) for split in ("val", "test")}
    model.weights_info = {
        "trained_on": {
            "recipe": sets["test"]["recipe"]["name"],
            "train": {k: v for k, v in trained_on.items() if k != "simulated_with"},
            **{
                split: {"images": m["images"], "seed": m["seed"]}
                for split, m in sets.items()
            },
            "simulated_with": trained_on["simulated_with"],
        },
        "training": {
            "command": " ".join(["python examples/train.py", *sys.argv[1:]]),
            "images_seen": args.steps * args.batch_size,
            "minutes": round(seconds / 60, 1),
            "started_from": args.init,
            "before": before,
            "machine": f"{platform.machine()}, {accelerator.num_processes} processes "
            f"of {torch.get_num_threads()} threads on {accelerator.device.type}",
            "date": datetime.now(UTC).date().isoformat(),
            "validation": history,
        },
        "metrics": {
            "test": test.as_is.summary(),
            "test_rotated": test.rotated.summary(),
            "grid_invariance": max(equivariance_error(model, images[:64]).values()),
        },
        "cost": {
            "parameters": sum(p.numel() for p in model.parameters()),
            "multiply_adds": model.multiply_adds(),
        },
        "image_statistics": statistics_ranges(model.preprocess(images)),
        "licence": "MIT",
        "versions": {
            "lensequiv": lensequiv.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    model.save_pretrained(args.out / "weights")
    print(json.dumps(model.weights_info["metrics"], indent=2))
