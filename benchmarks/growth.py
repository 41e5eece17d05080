"""How the cost of a network grows with image size, group order and width.

    python benchmarks/growth.py [--quick] [--plot FILE.png] [--json FILE]

Median times of the plain form (`model.to_torch()`) in single precision, and
multiply-adds counted by torch, for variations of `c8` in one respect each.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from layers import medians

import lensequiv
from lensequiv.files import check_output
from lensequiv.models import LensNetwork
from lensequiv.models.steerable import SteerableCNN
from lensequiv.plots import check_picture

BATCH = 16
STAGES = ((8, 8, 8), (12, 12, 12, 12), (16, 16))


def of_width(factor: float) -> LensNetwork:
    """c8 with that many times the fields in every layer."""
    fields = [[round(factor * f) for f in stage] for stage in STAGES]
    return lensequiv.create_model("c8", stem_fields=round(8 * factor), stages=fields)


def variations() -> dict[str, dict[float, tuple[Callable[[], LensNetwork], int]]]:
    """Models to build and image sizes, by what is varied and its value."""
    groups = {
        order: (lambda order=order: SteerableCNN(f"c{order}"), 129)
        for order in (2, 4, 8, 12, 16)
    }
    return {
        "image side, pixels": {
            size: (lambda: lensequiv.create_model("c8"), size)
            for size in (65, 97, 129, 161, 193, 257)
        },
        "group order (C_N)": groups,
        "width, times that of c8": {
            factor: (lambda factor=factor: of_width(factor), 129)
            for factor in (0.5, 0.75, 1, 1.5, 2)
        },
    }


def cost(build: Callable[[], LensNetwork], size: int) -> tuple[int, Callable]:
    """Multiply-adds an image, and a function that classifies a batch."""
    model = build().eval()
    plain, x = model.to_torch(), torch.rand(BATCH, 1, size, size)

    def run() -> object:
        with torch.inference_mode():
            return plain(x)

    return model.multiply_adds(size), run


def draw(results: dict[str, dict], path: Path) -> None:
    """Milliseconds an image over each variation, with the multiply-adds."""
    from lensequiv.plots._style import COLOURS, figure_class

    figure = figure_class()(figsize=(9, 3), layout="constrained")
    for i, (title, rows) in enumerate(results.items(), start=1):
        panel = figure.add_subplot(1, 3, i)
        values = list(rows)
        panel.plot(
            values,
            [row["ms an image"] for row in rows.values()],
            "o-",
            color=COLOURS[0],
            label="measured",
        )
        base = rows[next(v for v in values if v in (129, 8, 1))]
        scale = base["ms an image"] / base["GMAC"]
        panel.plot(
            values,
            [scale * row["GMAC"] for row in rows.values()],
            "s--",
            color=COLOURS[1],
            label="by multiply-adds, from c8",
        )
        panel.set(xlabel=title, xscale="log", yscale="log")
        panel.set_xticks(values, [f"{v:g}" for v in values])
        panel.minorticks_off()
        panel.tick_params(labelsize=7)
        if i == 1:
            panel.set_ylabel("ms an image, two cores")
            panel.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measures, prints a table, writes JSON, draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repetitions, not 11")
    parser.add_argument("--plot", type=Path, help="picture to draw (extra: plots)")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    if args.plot:
        check_picture(args.plot)  # before minutes of work, not after
    results = {}
    for title, cases in variations().items():
        costs = {value: cost(*case) for value, case in cases.items()}
        times = medians(
            {str(v): run for v, (_, run) in costs.items()}, 3 if args.quick else 11
        )
        print(title)
        results[title] = {}
        for value, (macs, _) in costs.items():
            row = {"ms an image": times[str(value)] / BATCH, "GMAC": macs / 1e9}
            results[title][value] = row
            print(
                f"  {value:6g}  {row['ms an image']:8.2f} ms an image"
                f"  {row['GMAC']:7.3f} GMAC"
            )
    if args.plot:
        draw(results, args.plot)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
