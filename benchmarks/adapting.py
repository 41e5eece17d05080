"""What `lensequiv.adaptation.adapt` gains on images of another instrument.

    python benchmarks/adapting.py [--images 300] [--test 450] [--json FILE]
        [--cases 1 2]

Each weight is adapted to unlabelled images of another simulation and scored, before and
after, on other images of it. "80 % no" has four images without substructure for each of
the others: parts that are not equal, which `adapt` warns of.
"""

import argparse
import json
import time
import warnings

import numpy as np
import torch

import lensequiv
from lensequiv.adaptation import AdaptationWarning, adapt
from lensequiv.domain import OutOfDomainWarning
from lensequiv.evaluation import perturbations, roc_auc
from lensequiv.files import check_output
from lensequiv.simulation import get_recipe, simulate

# Weight, recipe, its change, share of the class without substructure.
CASES = (
    ("c8-modelJ@2", "deeplensesim1", None, 1 / 3),
    ("c8-modelF@1", "modelJ", None, 1 / 3),
    ("c8-modelJ@2", "modelJ", "noise x 2.0", 1 / 3),
    ("c8-modelJ@2", "deeplensesim1", None, 0.8),
    ("c8-modelJ@2", "modelJ", "PSF width x 1.5", 1 / 3),
    ("c8-modelJ@2", "modelF", None, 1 / 3),
    ("c8-modelJ@2", "modelJ", None, 1 / 3),
)
SEEDS = (901, 902)  # of the unlabelled and of the test images


def lenses(
    recipe: str, change: str | None, n: int, seed: int, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, H, W) and labels; the first class has the given share of them."""
    chosen = perturbations(get_recipe(recipe))[change] if change else recipe
    others = round(n * (1 - share) / 2)
    most = max(n - 2 * others, others)
    made = simulate(chosen, 3 * most, seed=seed)
    parts = [
        torch.nonzero(made.labels == label).flatten()[: others if label else most]
        for label in range(3)
    ]
    rows = torch.cat(parts)
    return made.images[rows, None], made.labels[rows]


def scored(
    model: lensequiv.models.LensNetwork, images: torch.Tensor, labels: torch.Tensor
) -> dict:
    """Accuracy, micro AUC, and share flagged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        found = model.predict(images)
    chances = found.probabilities.double().numpy()
    truth = np.eye(3, dtype=bool)[labels]
    return {
        "accuracy": float((chances.argmax(1) == labels.numpy()).mean()),
        "auc": roc_auc(chances.ravel(), truth.ravel()),
        "flagged": float(found.unlike_training.double().mean()),
    }


def main() -> None:
    """Prints a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300, help="without labels")
    parser.add_argument("--test", type=int, default=450)
    parser.add_argument("--cases", type=int, nargs="+", help="numbers, from 1")
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| weight | images | information | accuracy | AUC | information | accuracy | "
        "AUC | taken | seconds |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for number in args.cases or range(1, len(CASES) + 1):
        weights, recipe, change, share = CASES[number - 1]
        model = lensequiv.from_pretrained(weights)
        # The classes stand in one order: no or no_sub, sphere or cdm, vort or axion.
        images, _ = lenses(recipe, change, args.images, SEEDS[0], share)
        test = lenses(recipe, change, args.test, SEEDS[1], share)
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", AdaptationWarning)
            adapted = adapt(model, images, balanced=share < 0.5)
        seconds = time.perf_counter() - start
        record = adapted.weights_info.get("adapted", {})
        row = {
            "weight": weights,
            "images": ", ".join(filter(None, (recipe, change))),
            "share": share,
            "before": scored(model, *test),
            "after": scored(adapted, *test),
            "record": record,
            "told": [str(warning.message) for warning in told],
            "seconds": seconds,
        }
        rows.append(row)
        name = row["images"] + (", 80 % no" if share > 0.5 else "")
        known = record.get("scores", {})
        infos = [known.get("as it is"), known.get(record.get("chosen"))]
        cells = [
            f"{'-' if i is None else f'{i:.3f}'} | {s['accuracy']:.3f} | {s['auc']:.4f}"
            for i, s in zip(infos, (row["before"], row["after"]), strict=True)
        ]
        taken = record.get("chosen", "unchanged")
        line = f"| {weights} | {name} | {' | '.join(cells)} | {taken} | {seconds:.0f} |"
        print(line, flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
