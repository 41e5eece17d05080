"""How well weights tell quantities of lenses that nobody has trained on.

    python benchmarks/quantities.py runs/axion1/weights runs/quantities/weights

Each weight is tested on the recipe that it was trained on first, as `lensequiv
simulate` makes its images, with a seed of their own. A row for each quantity: mean
absolute error of the median, the same if the mean were told of every lens, what was
published for the axion mass, shares of the truths within the central 68 and 95 %
intervals, width of the former, continuous ranked probability score. Where a weight
tells several quantities, their joint posterior is tested by random points (TARP); and
for all the largest change by turns of 90 degrees, in units of the quantity's spread.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

import lensequiv
from lensequiv._tables import in_columns
from lensequiv.evaluation.quantities import (
    crps,
    score_quantities,
    spread_whole,
    standardised,
    tarp,
)
from lensequiv.models import LensNetwork
from lensequiv.plain import Mixture
from lensequiv.simulation import QUANTITIES, simulate

# Mean absolute errors in dex on Models I, II and III, by networks for regression on
# sets of DeepLenseSim; other images of the same code, so a yardstick, not a contest.
PUBLISHED = {"deeplensesim1": 0.274, "deeplensesim2": 0.021, "deeplensesim3": 0.019}
AXION = "log10_axion_mass_ev"
DRAWS, BATCH, TURNED = 500, 128, 64


def tested(
    name: str, recipe: str | None, count: int, seed: int, device: str
) -> dict[str, Any]:
    """All numbers of one weight.

    Raises:
        ValueError: It tells no quantities, or other ones than the simulator knows.
    """
    model = lensequiv.from_pretrained(name, device=device)
    model.check_quantities()
    spec = model.quantities_spec
    assert spec is not None
    if strange := [q for q in spec.names if q not in QUANTITIES]:
        raise ValueError(f"{name} tells {strange[0]}, which no recipe knows")
    run = model.spec.information.quantities_training or {}
    recipe = recipe or run.get("recipes", ["modelJ"])[0].partition("@")[0]
    lenses = simulate(recipe, count, seed=seed)
    columns = [list(QUANTITIES).index(q) for q in spec.names]
    truth = lenses.quantities[:, columns]
    parts = []
    with torch.no_grad():
        for images in lenses.images.split(BATCH):
            x = model.preprocess(images[:, None]).to(device)
            embedding = model.embed(x)
            parts.append((*model.posterior(embedding), model.quantiles(embedding)))
    *mixed, told = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    mixture = Mixture(*mixed)
    even = standardised(spread_whole(truth, spec), spec)
    sharp = crps(mixture, even).nanmean(0) * torch.tensor(
        [q.scale for q in spec.quantities]
    )
    rows = [
        {
            **score._asdict(),
            "crps": float(value),
            "published": PUBLISHED.get(recipe) if score.name == AXION else None,
        }
        for score, value in zip(score_quantities(told, truth, spec), sharp, strict=True)
    ]
    found = {
        "weight": name,
        "recipe": recipe,
        "seed": seed,
        "lenses": count,
        "rows": rows,
        "turns": turned(model, lenses.images[:TURNED, None]),
        "joint": [],
    }
    for many in range(2, len(columns) + 1):
        chosen = _most_often_defined(truth, many)
        draws = mixture.sample(DRAWS, torch.Generator().manual_seed(0))
        joint = tarp(draws[..., chosen], even[:, chosen])
        found["joint"].append(
            {
                "quantities": [spec.names[i] for i in chosen],
                "lenses": joint.lenses,
                "deviation": joint.deviation,
            }
        )
    return found


def _most_often_defined(truth: torch.Tensor, many: int) -> list[int]:
    """So many of the columns: those that are defined most often."""
    defined = (~truth.isnan()).sum(0)
    return sorted(defined.argsort(descending=True, stable=True)[:many].tolist())


@torch.no_grad()
def turned(model: LensNetwork, images: torch.Tensor) -> float:
    """Largest change of a median by turns of 90 degrees, relative to its spread."""
    like = next(model.parameters())
    # An odd side: of even ones a turn moves the centre by half a pixel.
    x = model.preprocess(images).to(like)
    spec = model.quantities_spec
    assert spec is not None
    scale = torch.tensor([q.scale for q in spec.quantities]).to(like)
    still = model.forward_quantities(x)[..., 2]
    changes = [
        (model.forward_quantities(x.rot90(k, (2, 3)))[..., 2] - still).abs() / scale
        for k in (1, 2, 3)
    ]
    return float(torch.stack(changes).max())


def printed(found: dict[str, Any]) -> None:
    """One weight's table."""
    print(
        f"\n{found['weight']} on {found['lenses']} lenses of {found['recipe']}, seed "
        f"{found['seed']}"
    )
    titles = ["quantity", "lenses", "error", "of the mean", "published"]
    cells = [[*titles, "in 68 %", "in 95 %", "68 % width", "CRPS"]]
    for row in found["rows"]:
        cells.append(
            [
                row["name"],
                str(row["lenses"]),
                f"{row['error']:.4f}",
                f"{row['error_of_mean']:.4f}",
                "" if row["published"] is None else f"{row['published']:.3f}",
                f"{100 * row['coverage_68']:.1f} %",
                f"{100 * row['coverage_95']:.1f} %",
                f"{row['width_68']:.4f}",
                f"{row['crps']:.4f}",
            ]
        )
    print("\n".join(in_columns(cells)))
    for joint in found["joint"]:
        print(
            f"{', '.join(joint['quantities'])} together: coverage off by at most "
            f"{joint['deviation']:.3f} ({joint['lenses']} lenses)"
        )
    print(f"turned by 90, 180 and 270 degrees: within {found['turns']:.1e}")


def main() -> None:
    """Tests weights, prints tables, and writes them as JSON."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("weights", nargs="+", help="names or folders")
    p.add_argument("--recipe", help="of the lenses (default: that of the training)")
    p.add_argument("--lenses", type=int, default=3000)
    p.add_argument("--seed", type=int, default=901)
    p.add_argument("--device", default="cpu")
    p.add_argument("--json", type=Path, help="write all numbers there, too")
    args = p.parse_args()
    found = []
    for name in args.weights:
        found.append(tested(name, args.recipe, args.lenses, args.seed, args.device))
        printed(found[-1])
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
