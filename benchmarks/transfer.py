"""What a weight is worth on another simulation, by the number of labelled images.

    python benchmarks/transfer.py --data data/transfer --out runs/transfer
        [--sets deeplensesim2 ...] [--starts c8-modelJ@2 random:c8-modelJ@2 ...]
        [--ways probe all] [--labels 10 100 ...] [--pool 1000] [--device cuda]
        [--plot FILE.png] [--json FILE]

Ways: "probe" is logistic regression on the frozen embedding, "all" tunes all layers in
the loop of `examples/finetune.py`. A start is a weight or NAME=FOLDER, after `random:`
for the same architecture from random weights, after `resampled:` for images brought to
the weight's pixel scale (`resampled:random:WEIGHT` for both). Each seed takes other
labelled images out of the pool. Validation images (the same for everybody) choose
strength or learning rate, and the step at which tuning stops; test images are scored
once. Sets are simulated on the first call. What is done is kept in `--out`, so a killed
call goes on where it ended, and several calls with different `--sets` or `--starts` can
work side by side. The table has all that lies in `--out`; `--ways` without anything
prints it alone.
"""

import argparse
import json
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from transfer_curves import file_name, gathered, plot, table

import lensequiv
from lensequiv.data import open_dataset
from lensequiv.evaluation import roc_auc
from lensequiv.files import check_output, write_atomically
from lensequiv.models import LensNetwork
from lensequiv.plots import check_picture
from lensequiv.simulation import Subhalos, get_recipe, model_j, write_hdf5
from lensequiv.transforms import resample

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from checks import choose_size
from finetune import fresh_weights
from lenses import StoredLenses
from linear import embeddings
from tuning import Tuning

WARM = Subhalos(8.0, mass=(1e9, 1e10))
RECIPES = {
    **{name: get_recipe(name) for name in ("deeplensesim1", "deeplensesim2")},
    **{name: get_recipe(name) for name in ("deeplensesim3", "euclid")},
    "four-classes": replace(
        model_j,
        name="four-classes",
        substructure={**model_j.substructure, "warm": WARM},
    ),
}
SETS = tuple(RECIPES)[:4]
STARTS = tuple(
    scale + kind + weight
    for weight in ("c8-modelJ@2", "d8-modelJ@2")
    for scale in ("", "resampled:")
    for kind in ("", "random:")
)
LABELS = (10, 30, 100, 500, 1000, 5000)
SEEDS = {"train": 521, "val": 522, "test": 523}
VALIDATION, TEST = 200, 500  # images a class
RATES = {"weight": (2e-3, 8e-3), "random": (4e-3, 12e-3)}
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def prepared(
    name: str, args: argparse.Namespace
) -> dict[str, lensequiv.data.HDF5Images]:
    """The training pool, validation and test set, simulated unless they are there."""
    recipe, found = RECIPES[name], {}
    many = {"train": args.pool, "val": VALIDATION, "test": TEST}
    for split, each in many.items():
        path = args.data / name / f"{split}-{each}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            n = each * len(recipe.classes)
            write_hdf5(recipe, n, path, seed=SEEDS[split], workers=args.workers)
        found[split] = open_dataset(path)
    return found


def started(
    start: str, data: lensequiv.data.HDF5Images, recipe: str, seed: int
) -> LensNetwork:
    """A network with a new head, for images of a set."""
    weight = start.rpartition(":")[2]
    model = lensequiv.from_pretrained(
        weight.partition("=")[2] or weight,
        num_classes=len(data.classes),
        classes=data.classes,
    )
    image, scale = data[0][0], RECIPES[recipe].pixel_scale
    if start.startswith("resampled:"):
        image = resample(image, scale, model.pixel_scale)
    else:
        model.pixel_scale = scale
    model.set_input_size(choose_size(model, None, image.shape[-1], model.input_size))
    if "random:" in start:
        torch.manual_seed(seed)
        model = fresh_weights(model)
    return model


def images_of(
    data: lensequiv.data.HDF5Images, model: LensNetwork, recipe: str
) -> Tensor:
    """Images (N, 1, H, W) at the pixel scale of the network."""
    assert model.pixel_scale is not None
    images = data.load_arrays(progress=False)
    scales = RECIPES[recipe].pixel_scale, model.pixel_scale
    return torch.cat([resample(part, *scales) for part in images.split(1024)])


def some(labels: Tensor, each: int, seed: int) -> Tensor:
    """Positions of so many images of each class, drawn at random, ascending."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    picked = [order[labels[order] == c][:each] for c in range(int(labels.max()) + 1)]
    return torch.cat(picked).sort().values


def scored(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and micro AUC."""
    chances = logits.double().softmax(1).numpy()
    truth = np.eye(chances.shape[1], dtype=bool)[labels]
    return {
        "accuracy": float((chances.argmax(1) == labels.numpy()).mean()),
        "auc": float(roc_auc(chances.ravel(), truth.ravel())),
    }


def regression(x: Tensor, labels: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weight (D, classes) and bias of logistic regression with an L2 penalty."""
    weight = torch.zeros(x.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=300, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, labels)
        loss = loss + strength * weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def probed(known: dict[str, tuple[Tensor, Tensor]], rows: Tensor) -> dict:
    """Scores of the linear probe of some training images."""
    x, labels = (part[rows] for part in known["train"])
    middle, spread = x.mean(0), x.std(0) + 1e-6
    scaled = {name: ((z - middle) / spread, y) for name, (z, y) in known.items()}
    best: dict = {"loss": float("inf")}
    for strength in STRENGTHS:
        weight, bias = regression((x - middle) / spread, labels, strength)
        z, y = scaled["val"]
        loss = float(F.cross_entropy(z @ weight + bias, y))
        if loss < best["loss"]:
            best = {"loss": loss, "strength": strength}
            z, y = scaled["test"]
            best |= scored(z @ weight + bias, y)
    return best


def embedded(
    start: str, recipe: str, sets: dict, args: argparse.Namespace
) -> dict[str, tuple[Tensor, Tensor]]:
    """Embedding and label of each image of each set, kept in `--out`."""
    folder = args.out / "embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, tuple[Tensor, Tensor]] = {}
    model: LensNetwork | None = None
    for split, data in sets.items():
        path = folder / f"{file_name(recipe, start, data.path.stem)}.pt"
        if not path.exists():
            if model is None:
                model = started(start, data, recipe, 0).to(args.device)
            found = embeddings(model, images_of(data, model, recipe), path.stem)
            torch.save(found, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        known[split] = torch.load(path, weights_only=True), data.labels
    return known


def tuned(sets: dict, rows: Tensor, cell: dict, args: argparse.Namespace) -> dict:
    """Scores of all layers tuned on some training images."""
    start = cell["start"]
    model = started(start, sets["train"], cell["set"], cell["seed"])
    val, test = (images_of(sets[k], model, cell["set"]) for k in ("val", "test"))
    options = SimpleNamespace(
        **{"lr": cell["rate"], "steps": args.steps, "evaluations": 8, "patience": 3},
        **{"scratch": "random:" in start, "layer_decay": 0.8},
        **{"head_share": 0.2, "seed": cell["seed"], "images": len(rows)},
        batch_size=args.batch_size,
    )
    train = sets["train"].take(rows)
    lenses = StoredLenses(train, args.batch_size, seed=cell["seed"])
    lenses.images = images_of(train, model, cell["set"])
    accelerator = Accelerator(
        cpu=args.device == "cpu",
        mixed_precision="no" if args.device == "cpu" else "bf16",
    )
    torch.manual_seed(cell["seed"])
    tuning = Tuning(model, lenses, (val, sets["val"].labels), options, accelerator)
    out = args.out / "tuning" / file_name(*cell.values())
    out.mkdir(parents=True, exist_ok=True)
    tuning.resume(out)
    if not tuning.run(out, 0.0):
        sys.exit(130)
    tuning.finish()
    model.to(args.device)
    with torch.no_grad():
        logits = torch.cat(
            [model(model.preprocess(x).to(args.device)).cpu() for x in test.split(64)]
        )
    for part in out.iterdir():
        part.unlink()
    out.rmdir()
    return {
        "loss": tuning.best_loss,
        "best_step": tuning.best_step,
        "steps_made": tuning.done,
        **scored(logits, sets["test"].labels),
    }


def measured(cell: dict, sets: dict, args: argparse.Namespace) -> dict:
    """The record of a cell: done now unless it was before."""
    path = args.out / "cells" / f"{file_name(*cell.values())}.json"
    settings = {"pool": args.pool}
    if cell["way"] == "all":
        settings |= {"steps": args.steps, "batch_size": args.batch_size}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = some(sets["train"].labels, cell["labels"], cell["seed"])
        if cell["way"] == "probe":
            known = embedded(cell["start"], cell["set"], sets, args)
            found = probed(known, rows)
        else:
            found = tuned(sets, rows, cell, args)
        write_atomically(path, json.dumps({**cell, **settings, **found}).encode())
        print(f"{path.stem}: {found}", file=sys.stderr, flush=True)
    record = json.loads(path.read_text())
    for name, value in settings.items():
        if record[name] != value:
            raise ValueError(
                f"{path} was measured with {name} {record[name]}, not {value}: choose "
                "another --out"
            )
    return record


def measure(args: argparse.Namespace) -> None:
    """Measures every cell that is asked for."""
    for recipe in args.sets if args.ways else ():
        sets = prepared(recipe, args)
        for way, labels, start in product(args.ways, args.labels, args.starts):
            if labels > args.pool:
                continue
            cell = {"set": recipe, "start": start, "way": way, "labels": labels}
            rates: tuple[float | None, ...] = (None,)
            if way == "all":
                rates = RATES["random" if "random:" in start else "weight"]
            # The first seed chooses the rate for the others.
            first = [
                measured({**cell, "seed": 0, "rate": rate}, sets, args)
                for rate in rates
            ]
            rate = min(first, key=lambda run: run["loss"])["rate"]
            # A probe of the whole pool is the same with every seed.
            many = 1 if way == "probe" and labels == args.pool else args.seeds
            for seed in range(1, many):
                measured({**cell, "seed": seed, "rate": rate}, sets, args)


def main() -> None:
    """Measures what is missing, prints the table, draws the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="where sets are made")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=RECIPES)
    parser.add_argument("--starts", nargs="+", default=list(STARTS))
    parser.add_argument(
        "--ways", nargs="*", default=["probe", "all"], choices=("probe", "all")
    )
    parser.add_argument("--labels", nargs="+", type=int, default=list(LABELS))
    parser.add_argument("--pool", type=int, default=1000, help="images a class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000, help="to tune all layers")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, help="threads of the simulation")
    parser.add_argument("--plot", type=Path, help="where to draw the figure")
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    if args.plot:
        check_picture(args.plot)  # before hours of work, not after
    measure(args)
    found = gathered(args.out)
    table(found)
    if args.json:
        runs = [run for row in found.values() for cell in row.values() for run in cell]
        args.json.write_text(json.dumps(runs, indent=2) + "\n")
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
