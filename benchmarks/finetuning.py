"""What a published weight is worth on another simulation: fine-tuned or from scratch.

    python benchmarks/finetuning.py --data data/finetuning --out runs/finetuning
        [--weights c8-modelJ] [--json FILE]

Two simulations, made on the first call: DeepLenseSim's Model I (another telescope
exposure, another halo, other substructure) and Model J with a fourth class, a few heavy
subhalos as warm dark matter would leave them. Both sides see the same images for as
many steps in `examples/finetune.py`; each has the better one of two learning rates, by
validation images. What is done is kept in `--out`: a killed call goes on where it
ended.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from lensequiv.files import check_output
from lensequiv.simulation import Subhalos, get_recipe, model_j, write_class_folders

ROOT = Path(__file__).parents[1]
WARM = Subhalos(8.0, mass=(1e9, 1e10))
RECIPES = {
    "deeplensesim1": get_recipe("deeplensesim1"),
    "four-classes": replace(
        model_j,
        name="four-classes",
        substructure={**model_j.substructure, "warm": WARM},
    ),
}
SETS = {"train": (6000, 21), "val": (1500, 22), "test": (3000, 23)}  # images and seed
IMAGES = (120, 600, 6000)
RATES = {"fine-tuned": ("0.002", "0.008"), "from scratch": ("0.004", "0.012")}


def prepare(folder: Path) -> None:
    """Simulates what is not there yet."""
    for name, recipe in RECIPES.items():
        for split, (n, seed) in SETS.items():
            if not (folder / name / split).exists():
                write_class_folders(recipe, n, folder / name / split, seed=seed)


def tuned(
    kind: str, name: str, images: int, rate: str, args: argparse.Namespace
) -> dict:
    """What one run wrote of itself, done now unless it was before."""
    # From scratch, too, the weight decides the network, its input size and the check.
    out = args.out / args.weights.strip("/").replace("/", "-")
    out /= f"{name}-{images}-{kind.replace(' ', '-')}-{rate}-{args.steps}"
    if not (out / "config.json").exists():
        command = [sys.executable, str(ROOT / "examples" / "finetune.py"), args.weights]
        command += ["--data", str(args.data / name), "--out", str(out), "--lr", rate]
        command += ["--images", str(images), "--steps", str(args.steps)]
        command += ["--scratch"] if kind == "from scratch" else []
        subprocess.run(command, check=True)
    config = json.loads((out / "config.json").read_text())
    return {"rate": rate, **config["info"]["fine_tuned"]}


def main() -> None:
    """Prints a row for each simulation and number of images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="where sets are made")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--weights", default="c8-modelJ")
    parser.add_argument("--steps", type=int, default=1000, help="of 32 images")
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    prepare(args.data)
    print(
        "| simulation | training images | linear check "
        "| accuracy fine-tuned | from scratch | AUC fine-tuned | from scratch |"
    )
    print("|---|---|---|---|---|---|---|")
    rows = []
    for name in RECIPES:
        for images in IMAGES:
            best = {
                kind: max(
                    (tuned(kind, name, images, rate, args) for rate in rates),
                    key=lambda run: run["validation"]["accuracy"],
                )
                for kind, rates in RATES.items()
            }
            rows.append({"simulation": name, "images": images, **best})
            tests = [run["test"] for run in best.values()]
            cells = [f"{best['fine-tuned']['linear_check']:.3f}"]
            cells += [f"{t['accuracy']:.3f}" for t in tests]
            cells += [f"{t['auc_micro']:.4f}" for t in tests]
            print(f"| {name} | {images} | {' | '.join(cells)} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
