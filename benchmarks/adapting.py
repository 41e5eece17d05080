"""What `lensequiv.adaptation.adapt` gains on images of another instrument.

    python benchmarks/adapting.py [--images 240] [--test 300] [--json FILE]
        [--cases 1 2]

Each weight is adapted to unlabelled images of another simulation and scored, before and
after, on other images of it, with the classes in the same parts: by default, where
`adapt` refuses what looks like classes in unequal parts, and, if it does, with
`balanced=True`, true or not. `benchmarks/sinkhorn.py` tries another way.
"""

import argparse
import json
import warnings

import numpy as np
import torch

import lensequiv
from lensequiv.adaptation import AdaptationWarning, adapt
from lensequiv.adaptation._networks import answers
from lensequiv.adaptation._parts import class_parts
from lensequiv.domain import OutOfDomainWarning
from lensequiv.evaluation import perturbations, roc_auc
from lensequiv.files import check_output
from lensequiv.simulation import get_recipe, observed_by, simulate

# As Hubble's ACS would see Model J's lenses; the only change that is not of `perturb`.
ACS = "by hst-acs-f814w"
# Weight, recipe, its change, share of the class without substructure.
CASES = (
    ("c8-modelJ@2", "deeplensesim1", None, 1 / 3),
    ("c8-modelF@1", "modelJ", None, 1 / 3),
    ("c8-modelJ@2", "modelJ", "noise x 2.0", 1 / 3),
    ("c8-modelJ@2", "deeplensesim1", None, 0.8),
    ("c8-modelJ@2", "modelJ", "PSF width x 1.5", 1 / 3),
    ("c8-modelJ@2", "modelF", None, 1 / 3),
    ("c8-modelJ@2", "modelJ", None, 1 / 3),
    ("c8-modelJ@2", "deeplensesim2", None, 1 / 3),
    ("c8-modelJ@2", "modelJ", ACS, 1 / 3),
    ("c8-modelJ@2", "modelJ", "noise x 2.0", 0.8),
    ("c8-modelJ@2", "modelF", None, 0.8),
    ("c8-modelF@1", "modelJ", None, 0.8),
    ("c8-modelJ@2", "modelJ", ACS, 0.8),
    ("c8-modelJ@2", "modelJ", "noise x 2.0", 0.5),
    ("c8-modelJ@2", "modelF", None, 0.5),
)
SEEDS = (901, 902)  # of the unlabelled and of the test images


def lenses(
    recipe: str, change: str | None, n: int, seed: int, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, H, W) and labels; the first class has the given share of them."""
    chosen = get_recipe(recipe)
    if change == ACS:
        chosen = observed_by(chosen, "hst-acs-f814w", magnitude=(21.0, 23.0))
    elif change:
        chosen = perturbations(chosen)[change]
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


def tried(
    model: lensequiv.models.LensNetwork,
    images: torch.Tensor,
    test: tuple[torch.Tensor, torch.Tensor],
    before: dict,
    balanced: bool,
) -> dict:
    """What `adapt` makes of a weight, and how that does, where it did `before`."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", AdaptationWarning)
        adapted = adapt(model, images, balanced=balanced)
    messages = [str(warning.message) for warning in told]
    record = adapted.weights_info.get("adapted", {})
    return {
        "record": record,
        "refused": any("unequal parts" in message for message in messages),
        "told": messages,
        **(scored(adapted, *test) if record else before),
    }


def gain(run: dict) -> str:
    """Information before and after."""
    scores = run["record"].get("scores")
    if not scores:
        return "-"
    return f"{scores['as it is']:.2f} to {scores[run['record']['chosen']]:.2f}"


def main() -> None:
    """Prints a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=240, help="without labels")
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--cases", type=int, nargs="+", help="numbers, from 1")
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| weight | images | `no` | suggested | as it is | by default | "
        "balanced=True | information | taken |\n|---|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for number in args.cases or range(1, len(CASES) + 1):
        weights, recipe, change, share = CASES[number - 1]
        model = lensequiv.from_pretrained(weights)
        # The classes stand in one order: no or no_sub, sphere or cdm, vort or axion.
        images, _ = lenses(recipe, change, args.images, SEEDS[0], share)
        test = lenses(recipe, change, args.test, SEEDS[1], share)
        if images.shape[-1] < model.input_size:
            model.set_input_size(49)
        chances = answers(model, model.preprocess(images))[0]
        before = scored(model, *test)
        default = forced = tried(model, images, test, before, False)
        if default["refused"]:
            forced = tried(model, images, test, before, True)
        row = {
            "weight": weights,
            "images": " ".join(filter(None, (recipe, change))),
            "share": share,
            "suggested": class_parts(chances).tolist(),
            "before": before,
            "default": default,
            "balanced": forced,
        }
        rows.append(row)
        cells = [weights, row["images"], f"{share:.0%}"]
        cells.append(" ".join(f"{part:.2f}" for part in row["suggested"]))
        cells += [
            f"{row[k]['accuracy']:.3f}" for k in ("before", "default", "balanced")
        ]
        cells += [gain(forced), forced["record"].get("chosen", "unchanged")]
        print(f"| {' | '.join(cells)} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
