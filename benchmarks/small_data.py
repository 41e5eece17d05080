"""Equivariant networks against ResNet-18 where training images are few.

    lensequiv simulate modelJ --images 10002 --seed 31 data/few/train.h5
    lensequiv simulate modelJ --images 1500 --seed 32 data/few/val
    lensequiv simulate modelJ --images 6000 --seed 33 data/few/test
    python benchmarks/small_data.py --data data/few --out runs/few
        [--mass-map] [--plot FILE.png] [--json FILE]

From random weights, with labels alone, as a user's own images would have them. Every
network gets the same images, augmentation, averaging and precision from
`examples/train.py`, and with each number of images the learning rate and the number of
steps that the validation images choose for it, by the first seed; the best of its
evaluations is scored on the test set. With `--mass-map` all learn the map of the
substructure besides. What is done is kept in `--out`, so that a call that was killed
goes on where it ended. Minutes on a GPU, days on a processor.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import lensequiv
from lensequiv.files import check_output, write_atomically
from lensequiv.plots import check_picture

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from option_types import add_precision_option  # noqa: E402
from options import arguments as training_arguments  # noqa: E402
from train import Training, accelerator_of  # noqa: E402
from validate import validate  # noqa: E402

NEW: dict[str, Any] = {"stem_stride": 2, "activation": "gelu", "isotropic": True}
# Options of each network, and the peak learning rates that it chooses from.
MODELS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "c8": (NEW, (0.004, 0.012)),
    "d8": (NEW, (0.004, 0.012)),
    "resnet18": ({}, (0.001, 0.004)),
}
IMAGES = (99, 300, 999, 3000, 9999)
STEPS = (400, 1600, 4800)
SEEDS = (0, 1, 2)


def trained(
    model: str, images: int, rate: float, steps: int, seed: int, args: Any
) -> dict[str, Any]:
    """Scores of one run, trained now unless it was before."""
    kind = "map" if args.mass_map else "labels"
    out = args.out / f"{model}-{images}-{rate:g}-{steps}-{seed}-{kind}"
    done = out / "scores.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text())
        return found
    print(f"\n{out.name}", flush=True)
    argv = [model, "--data", str(args.data), "--out", str(out)]
    argv += ["--options", json.dumps(MODELS[model][0]), "--seed", str(seed)]
    argv += ["--images", str(images), "--lr", str(rate), "--steps", str(steps)]
    argv += ["--batch-size", str(min(64, images)), "--evaluations", "8"]
    argv += ["--norm-images", "1280", "--ema", "0.99"]
    argv += ["--precision", args.precision]
    argv += [] if args.mass_map else ["--map-weight", "0"]
    options = training_arguments(argv)
    accelerator = accelerator_of(options)
    training = Training(options, accelerator)
    training.resume()
    training.run()
    best = lensequiv.from_pretrained(out / "best", device=accelerator.device)
    test = training.sets.test
    assert test is not None
    images_of_test = torch.cat(
        [
            best.preprocess(part.to(accelerator.device).float())
            for part in test.load_arrays().split(250)
        ]
    )
    scores = validate(best, images_of_test, test.labels, accelerator)
    found = {"validation": training.best, "test": scores}
    write_atomically(done, json.dumps(found).encode())
    del training
    gc.collect()
    return found


def measured(model: str, images: int, args: Any) -> dict[str, Any]:
    """What the first seed chooses, and the scores of all seeds with that."""
    steps = [few for few in STEPS if few <= args.most_steps]
    choices = [
        (trained(model, images, rate, few, SEEDS[0], args)["validation"], rate, few)
        for rate, few in product(MODELS[model][1], steps)
    ]
    _, rate, few = max(choices)
    runs = [
        trained(model, images, rate, few, seed, args)["test"]
        for seed in SEEDS[: args.seeds]
    ]
    return {
        "model": model,
        "images": images,
        "rate": rate,
        "steps": few,
        "AUC": [run["auc_micro"] for run in runs],
        "accuracy": [run["accuracy"] for run in runs],
    }


def main() -> None:
    """Trains what is missing, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="train/ val/ test/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--images", nargs="+", type=int, default=list(IMAGES))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="at most so many")
    parser.add_argument("--most-steps", type=int, default=max(STEPS))
    parser.add_argument("--mass-map", action="store_true", help="not labels alone")
    add_precision_option(parser)
    parser.add_argument("--plot", type=check_picture, help="where to draw the figure")
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    rows = []
    print("| network | images | rate | steps | test AUC (micro) | accuracy |")
    print("|---|---|---|---|---|---|")
    for images, model in product(args.images, args.models):
        rows.append(measured(model, images, args))
        row = rows[-1]
        cells = [
            f"{mean(v):.4f}" + (f" ± {stdev(v):.4f}" if len(v) > 1 else "")
            for v in (row["AUC"], row["accuracy"])
        ]
        numbers = f"{images} | {row['rate']:g} | {row['steps']}"
        print(f"| `{model}` | {numbers} | {' | '.join(cells)} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    if args.plot:
        plot(rows, args.plot)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """1 - AUC against the number of training images, a line for each network."""
    from lensequiv.plots._style import (
        KEY,
        PANEL,
        figure_class,
        finish,
        line_styles,
        tidy,
    )

    figure = figure_class()(figsize=(1.3 * PANEL, PANEL), layout="constrained")
    panel = figure.add_subplot()
    for model, look in zip(MODELS, line_styles(len(MODELS)), strict=True):
        mine = [row for row in rows if row["model"] == model]
        if not mine:
            continue
        error = [1 - mean(row["AUC"]) for row in mine]
        spread = [stdev(r["AUC"]) if len(r["AUC"]) > 1 else 0.0 for r in mine]
        panel.errorbar(
            [row["images"] for row in mine], error, spread, label=model, **look
        )
    panel.set(xscale="log", yscale="log")
    tidy(
        panel,
        title="Error on test images of Model J",
        x="training images",
        y="1 - ROC AUC (micro-average)",
    )
    panel.legend(**KEY)
    finish(figure, path)


if __name__ == "__main__":
    main()
