"""A lens modeller beside the maps: single point masses found by fitting each image.

    python benchmarks/detection_fits.py --out runs/fits [--smooth 60] [--lenses 25]
        [--also runs/resnet18-modelJ/best]

Lenses are the first of those in `detection.py`: smooth ones of Model J, others that
differ from it in one thing, and lenses with one point mass. Each is fitted by the best
smooth lens and then by one point mass more, put where it lowers chi^2 most
(`limit_fits.py`); what it lowers chi^2 by is the score. The networks judge the same
lenses, and every threshold comes from the same smooth ones. Fits are kept in `--out`: a
killed call goes on where it ended, and more lenses add to what is there.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detection import (
    EDGES,
    NEAR,
    Judges,
    Scores,
    at_places,
    placed,
    tasks,
)
from limit_fits import gains
from tqdm.auto import tqdm

from lensequiv.domain import OutOfDomainWarning
from lensequiv.evaluation import detection
from lensequiv.files import write_atomically
from lensequiv.simulation import Recipe, simulate

ALARM = 0.1
CHANGED = ("multipole m = 4 of 3 %", "halo of axis ratio 0.7", "PSF width x 1.1")


def chosen(smooth: int, lenses: int) -> dict[str, tuple[Recipe, int, int]]:
    """The sets of `detection.py` that are fitted, by the names of their files."""
    sets = tasks(smooth, lenses, lenses)
    masses = range(len(EDGES) - 1)
    return {
        "smooth": sets["smooth"],
        **{f"mass-{k}": sets["point mass", k] for k in masses},
        **{f"changed-{i}": sets[name] for i, name in enumerate(CHANGED)},
    }


def fitted(out: Path, images: dict[str, torch.Tensor]) -> dict[str, dict[str, Any]]:
    """Gain, place and seconds of each fit by set; what is kept is not repeated."""
    most = max(len(stack) for stack in images.values())
    order = [(name, i) for i in range(most) for name in images if i < len(images[name])]
    for name, i in tqdm(order, "fits"):
        path = out / f"{name}-{i:04d}.json"
        if not path.exists():
            started = time.process_time()
            found = gains(images[name][i].numpy(), masses=1)
            row = {
                "gain": float(found["gain"][0]),
                "place": found["places"][0].tolist(),
                "seconds": time.process_time() - started,
            }
            write_atomically(path, json.dumps(row).encode())
    return {
        name: {
            key: np.array(
                [
                    json.loads((out / f"{name}-{i:04d}.json").read_text())[key]
                    for i in range(len(stack))
                ]
            )
            for key in ("gain", "place", "seconds")
        }
        for name, stack in images.items()
    }


def row(scores: dict[str, Any], limit: float) -> list[float]:
    """Shares above the threshold: smooth, changed, then by mass."""
    names = ["smooth", *(f"changed-{i}" for i in range(len(CHANGED)))]
    names += [f"mass-{k}" for k in range(len(EDGES) - 1)]
    return [float((scores[name] >= limit).mean()) for name in names]


def main() -> None:
    """Fits, judges, prints and writes."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, required=True, help="folder of what is done")
    p.add_argument("--weights", default="c8-modelJ")
    p.add_argument("--also", nargs="*", default=[], help="for 1 - P(no) of others")
    p.add_argument("--smooth", type=int, default=60, help="lenses for thresholds")
    p.add_argument("--lenses", type=int, default=25, help="of each other set")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", OutOfDomainWarning)
    torch.set_num_threads(1)
    judges = Judges(args.weights, args.also)
    made = {
        name: simulate(recipe, number, seed=seed)
        for name, (recipe, number, seed) in chosen(args.smooth, args.lenses).items()
    }
    images = {name: lenses.images for name, lenses in made.items()}
    fits = fitted(args.out, images)
    started = time.process_time()
    judged = {name: judges(stack) for name, stack in images.items()}
    lenses = sum(len(stack) for stack in images.values())
    network = (time.process_time() - started) / lenses / (1 + len(args.also))
    scores: dict[str, dict[str, Any]] = {
        "fit of one point mass": {name: fit["gain"] for name, fit in fits.items()},
        **{
            name: {task: found[0][name] for task, found in judged.items()}
            for name in judged["smooth"][0]
        },
    }
    report = {name: told(found) for name, found in scores.items()}
    limit = report["fit of one point mass"]["threshold"]
    report["fit of one point mass"]["place"] = [
        share_near(fits[f"mass-{k}"], made[f"mass-{k}"].parameters, limit)
        for k in range(len(EDGES) - 1)
    ]
    limit = report["map"]["threshold"]
    report["map"]["place"] = [
        at_places(
            judged[f"mass-{k}"][1],
            placed(made[f"mass-{k}"].parameters, judged[f"mass-{k}"][1]),
            limit,
        )[k]["share"]
        for k in range(len(EDGES) - 1)
    ]
    seconds = np.concatenate([fit["seconds"] for fit in fits.values()])
    report["seconds a lens"] = {"fit": float(np.median(seconds)), "network": network}
    write_atomically(args.out / "report.json", json.dumps(report, indent=1).encode())
    tell(report)


def told(scores: Scores) -> dict[str, Any]:
    """Threshold from the smooth lenses, and the shares above it."""
    limit = detection.alarm_threshold(scores["smooth"], ALARM)
    return {"threshold": limit, "shares": row(scores, limit)}


def share_near(fit: dict[str, Any], parameters: Any, limit: float) -> float:
    """Share of the lenses whose mass is found, and where it is."""
    first = parameters["mass"].argmax(1)
    rows = np.arange(len(first))
    truth = np.stack([parameters[f"mass_{axis}"][rows, first] for axis in "xy"], 1)
    near = np.hypot(*(fit["place"] - truth).T) <= NEAR
    return float((near & (fit["gain"] >= limit)).mean())


def tell(report: dict[str, Any]) -> None:
    """Prints the table of `docs/maps.md`."""
    columns = ["smooth", *CHANGED]
    columns += [f"10^{8 + k / 2:g}" for k in range(len(EDGES) - 1)]
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, found in report.items():
        if "shares" in found:
            cells = [f"{100 * share:.0f}" for share in found["shares"]]
            print(f"| {name} | " + " | ".join(cells) + " |")
        if "place" in found:
            cells = [""] * (1 + len(CHANGED))
            cells += [f"{100 * share:.0f}" for share in found["place"]]
            print(f"| {name}, in its place | " + " | ".join(cells) + " |")
    print(report["seconds a lens"])


if __name__ == "__main__":
    main()
