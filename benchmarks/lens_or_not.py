"""What weights flag: lenses of all recipes, real ones, and what is no lens.

    python benchmarks/lens_or_not.py --weights d8-wide-small c8-modelJ
        [--images 100] [--real DIR] [--json FILE]

Every image is given to `predict` as a user would, with its pixel scale and
`resample=True`. Lenses come from the recipes of the package, with new seeds; what is no
lens from `unlike_images.py`, at Model J's scale, and from `examples/unlike.py`: the
recipes `hst` and `euclid` without source or without lens. `--real` has the real lenses
of this project's data, of which each counts once. Printed are the share that is flagged
for whatever reason and the share whose score is above the threshold, in percent, and of
lenses the share of right labels and the micro-average ROC AUC. Needs the extra `sim`.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_lens_images import real_images
from sklearn.metrics import roc_auc_score
from torch import Tensor
from unlike_images import constant, galaxies, gradient, noise, star

import lensequiv
from lensequiv.domain import OutOfDomainWarning
from lensequiv.files import check_output, write_atomically
from lensequiv.inference import ImagePrediction
from lensequiv.models import LensNetwork
from lensequiv.simulation import Recipe, get_recipe, simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from unlike import without_lens, without_source

SEED = 302_800
LENSES = (
    *("modelF", "modelJ", "deeplensesim1", "deeplensesim2-noisy"),
    *("deeplensesim3-noisy", "hst", "euclid"),
)
NONE: dict[str, Callable[[Recipe, int, int], Tensor]] = {
    "noise": noise,
    "constant and noise": constant,
    "sky gradient": gradient,
    "star": star,
    "galaxies": galaxies,
}


def share(values: list[bool]) -> float:
    """In percent."""
    return 100 * sum(values) / len(values)


def summary(found: list[ImagePrediction], threshold: float) -> dict[str, Any]:
    """How many are flagged."""
    return {
        "images": len(found),
        "flagged": share([bool(one.notes) for one in found]),
        "by score": share([one.ood_score > threshold for one in found]),
    }


def answers(model: LensNetwork, images: Tensor, scale: float) -> list[ImagePrediction]:
    """What `predict` says of them."""
    return list(model.predict(images.float(), pixel_scale=scale, resample=True))


def measure(name: str, count: int, real: Path | None) -> dict[str, dict[str, Any]]:
    """All rows of a weight."""
    model = lensequiv.from_pretrained(name).eval()
    threshold = 1.0 if model.domain is None else model.domain.threshold
    rows: dict[str, dict[str, Any]] = {}
    for i, recipe in enumerate(LENSES):
        made = simulate(recipe, count, seed=SEED + i)
        scale = get_recipe(recipe).pixel_scale
        found = answers(model, made.images, scale)
        truth = [made.classes[label] for label in made.labels]
        right = [one.label == label for one, label in zip(found, truth, strict=True)]
        p = torch.stack([one.probabilities for one in found]).numpy()
        auc = roc_auc_score(np.eye(p.shape[1])[made.labels].ravel(), p.ravel())
        more = {"right": share(right), "AUC": float(auc)}
        rows[f"lenses: {recipe}"] = summary(found, threshold) | more
        print(name, f"lenses: {recipe}", rows[f"lenses: {recipe}"], flush=True)
    if real is not None:
        seen = [lens for lens in real_images(real) if lens.first]
        found = [model.predict(x.path, resample=True, **x.options)[0] for x in seen]
        rows["lenses: real"] = summary(found, threshold)
    base = get_recipe("modelJ")
    sets = {kind: partial(make, base) for kind, make in NONE.items()}
    scales = dict.fromkeys(sets, base.pixel_scale)
    for recipe in ("hst", "euclid"):
        for without in (without_source, without_lens):
            other = without(get_recipe(recipe))
            sets[other.name] = partial(_images, other)
            scales[other.name] = other.pixel_scale
    for i, (kind, make) in enumerate(sets.items()):
        images = make(count, SEED + 100 + 10 * i)
        found = answers(model, images, scales[kind])
        rows[f"no lens: {kind}"] = summary(found, threshold)
        print(name, f"no lens: {kind}", rows[f"no lens: {kind}"], flush=True)
    return rows


def _images(recipe: Recipe, count: int, seed: int) -> Tensor:
    return simulate(recipe, count, seed=seed).images


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", required=True, help="names or folders")
    parser.add_argument("--images", type=int, default=100, help="of each kind")
    parser.add_argument("--real", type=Path, help="folder of real lenses")
    parser.add_argument("--json", type=check_output, help="write the figures here")
    args = parser.parse_args()
    warnings.simplefilter("ignore", OutOfDomainWarning)
    tables = {name: measure(name, args.images, args.real) for name in args.weights}
    print("\n| images | " + " | ".join(tables) + " |")
    print("|---" * (1 + len(tables)) + "|")
    for kind in next(iter(tables.values())):
        cells = []
        for table in tables.values():
            row = table[kind]
            right = (
                f"; right {row['right']:.0f}, AUC {row['AUC']:.3f}"
                if "right" in row
                else ""
            )
            cells.append(f"{row['flagged']:.0f} ({row['by score']:.0f}){right}")
        print(f"| {kind} | " + " | ".join(cells) + " |")
    if args.json:
        write_atomically(args.json, json.dumps(tables, indent=2).encode())


if __name__ == "__main__":
    main()
