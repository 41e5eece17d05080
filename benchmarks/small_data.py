"""Equivariant networks against ResNet-18 where training images are few.

    lensequiv simulate modelJ@1 --images 94464 --seed 31 data/modelJ@1/train.h5
    lensequiv simulate modelJ@1 --images 4500 --seed 2 data/modelJ@1/val
    lensequiv simulate modelJ@1 --images 7500 --seed 8 data/modelJ@1/test
    python benchmarks/small_data.py --data data/modelJ@1 --out runs/small
        [--labels-alone] [--plot FILE.png] [--json FILE]

Every network gets the same images, mass map, augmentation, steps, averaging and
precision from `examples/train.py`, and its own tuned learning rate; the best of its
evaluations is scored on the test set. With `--labels-alone` none sees the mass map.
Hours of work: what is done is kept in `--out`, so a call that was killed goes on where
it ended.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from lensequiv.files import check_output
from lensequiv.plots import check_picture

ROOT = Path(__file__).parents[1]
# Peak learning rates: chosen by short runs, see docs/architecture-search.md and
# docs/training.md.
RATES = {"c8": 0.012, "d8": 0.012, "resnet18": 0.004}
# Seeds by number of images.
THREE = {750: (0,), 7500: (0,), 60000: (0, 1, 2)}
MODELS = {"c8": THREE, "d8": {750: (0,), 7500: (0,)}, "resnet18": THREE}


def train(model: str, images: int, seed: int, args: argparse.Namespace) -> dict:
    """Metrics of one run, trained now unless it was before."""
    kind = "labels" if args.labels_alone else "map"
    out = args.out / f"{model}-{images}-{seed}-{kind}-{args.steps}"
    if not (out / "weights").exists():
        command = [sys.executable, str(ROOT / "examples" / "train.py"), model]
        command += ["--data", str(args.data), "--out", str(out)]
        command += ["--images", str(images), "--seed", str(seed)]
        command += ["--lr", str(RATES[model])]
        command += ["--map-weight", "0"] if args.labels_alone else []
        command += ["--steps", str(args.steps), "--evaluations", "4"]
        subprocess.run(command, check=True)
    return json.loads((out / "weights" / "config.json").read_text())["info"]["metrics"]


def main() -> None:
    """Trains what is missing, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="train/ val/ test/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=2000, help="of 64 images")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument(
        "--images", nargs="+", type=int, default=list(THREE), choices=THREE
    )
    parser.add_argument("--seeds", type=int, help="at most so many")
    parser.add_argument("--labels-alone", action="store_true", help="no mass map")
    parser.add_argument("--plot", type=Path, help="where to draw the figure")
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    if args.plot:
        check_picture(args.plot)  # before minutes of work, not after
    rows = []
    print(
        "| network | training images | seeds | test AUC (micro) | accuracy | rotated |"
    )
    print("|---|---|---|---|---|---|")
    for images in args.images:
        for model in args.models:
            runs = [
                train(model, images, seed, args)
                for seed in MODELS[model].get(images, ())[: args.seeds]
            ]
            if not runs:
                continue
            found = {
                "AUC": [run["test"]["auc_micro"] for run in runs],
                "accuracy": [run["test"]["accuracy"] for run in runs],
                "rotated": [run["test_rotated"]["auc_micro"] for run in runs],
            }
            rows.append({"model": model, "images": images, **found})
            cells = [
                f"{mean(v):.4f}" + (f" ± {stdev(v):.4f}" if len(v) > 1 else "")
                for v in found.values()
            ]
            print(f"| `{model}` | {images} | {len(runs)} | {' | '.join(cells)} |")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    if args.plot:
        plot(rows, args.plot)


def plot(rows: list[dict], path: Path) -> None:
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
    for (model, _), look in zip(MODELS.items(), line_styles(len(MODELS)), strict=True):
        mine = [row for row in rows if row["model"] == model]
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
