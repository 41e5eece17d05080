"""The learning curve of the published weights, and where it may end.

    python benchmarks/learning_curve.py [--fresh modelJ] [--json FILE]

Cards say how many lenses a run had seen at each validation; where it started from
another weight, that one's count, too. The curve 1 - AUC = a + b n^-c is fitted to each
run by itself, with a scatter of 10 % (the chance of 4,500 validation images). Printed
are the best a and the range in which chi^2 is at most 1 above its least. Validations
within a run come under a falling learning rate, so that each curve is steeper than that
of runs of different lengths, and its end lies too high if anything.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

import lensequiv
from lensequiv.files import check_output

SCATTER = 0.1  # of ln(1 - AUC)
FEWEST = 4  # validations of a run


def runs(fresh: str) -> dict[str, list[tuple[int, float]]]:
    """Lenses seen and 1 - AUC on validation images, by the command of the run.

    Args:
        fresh: The recipe whose lenses were simulated for every step.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for name in lensequiv.list_pretrained():
        training = lensequiv.pretrained_info(name)["info"]["training"]
        while training:
            if f"--fresh {fresh}" in training["command"] and training["validation"]:
                found[training["command"]] = seen_and_error(training)
            training = training.get("before")
    return found


def seen_and_error(training: dict[str, Any]) -> list[tuple[int, float]]:
    """Of every validation of a run."""
    earlier, before = 0, training.get("before")
    while before:
        earlier += before["images_seen"]
        before = before.get("before")
    checks = training["validation"]
    a_step = training["images_seen"] / checks[-1]["step"]
    return [
        (round(earlier + check["step"] * a_step), 1 - check["auc_micro"])
        for check in checks
    ]


def chi2_of(a: float, seen: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Squares of the logarithms' residuals for an offset, and the best power c."""

    def left(p: np.ndarray) -> np.ndarray:
        return np.log(a + np.exp(p[0] - p[1] * np.log(seen / 1e6))) - np.log(error)

    start = [np.log(max(np.median(error) - a, 1e-5)), 1.0]
    found = least_squares(left, start, bounds=([-20, 0.0], [5, 6.0]))
    return float(np.square(found.fun).sum()), float(found.x[1])


def end_of(points: list[tuple[int, float]]) -> dict[str, Any]:
    """The offset: best value, allowed range, and the powers that go with its ends."""
    seen, error = np.array(points).T
    offsets = np.linspace(0, 1.2 * error.min(), 200)
    squares, powers = np.array([chi2_of(a, seen, error) for a in offsets]).T
    squares /= SCATTER**2
    allowed = squares <= squares.min() + 1
    return {
        "lenses": int(seen.max()),
        "last": float(error[-1]),
        "chi2": float(squares.min()),
        "a": float(offsets[squares.argmin()]),
        "range": [float(offsets[allowed].min()), float(offsets[allowed].max())],
        "c": [float(p) for p in powers[allowed][[0, -1]]],
    }


def main() -> None:
    """Fits, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", default="modelJ", help="recipe of the training")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    if args.json:
        check_output(args.json)
    result = {
        command: end_of(points)
        for command, points in runs(args.fresh).items()
        if len(points) >= FEWEST
    }
    print(
        "| run | lenses | last 1 - AUC | a | allowed | power c |\n" + "|---" * 6 + "|"
    )
    for command, row in result.items():
        network = command.split("train.py ")[1].split()[0]
        low, high = row["range"]
        steep, flat = row["c"]
        print(
            f"| {network} | {row['lenses']:,} | {row['last']:.5f} | {row['a']:.5f} "
            f"| {low:.5f} to {high:.5f} | {steep:.1f} to {flat:.1f} |"
        )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
