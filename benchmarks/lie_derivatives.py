r"""The Lie-derivative error of networks, layer by layer.

    python benchmarks/lie_derivatives.py c8-modelJ@1 c8-modelJ@2 \
        ResNet-18=runs/resnet18-modelJ/best [--recipe modelJ] [--images N] [--json FILE]

Lenses without noise, as many of each class. `lensequiv.equivariance.lie_derivative`
says what is measured.
"""

import argparse
import json
from pathlib import Path

import torch
from tqdm.auto import tqdm

import lensequiv
from lensequiv.equivariance import lie_derivative
from lensequiv.files import check_output
from lensequiv.simulation import get_recipe
from lensequiv.simulation._blocks import simulate_range


def main() -> None:
    """Prints a table of all networks for each number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", help="NAME or TITLE=FOLDER")
    parser.add_argument("--recipe", default="modelJ")
    parser.add_argument("--images", type=int, default=3, help="of each class")
    parser.add_argument("--seed", type=int, default=4244)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    if args.json:
        check_output(args.json)
    recipe = get_recipe(args.recipe)
    images = torch.cat(
        [
            simulate_range(recipe, label, args.seed, 0, args.images, noise=False)[0]
            for label in range(len(recipe.classes))
        ]
    )
    reports = {}
    for text in tqdm(args.weights, "networks"):
        title, _, folder = text.partition("=")
        model = lensequiv.from_pretrained(folder or title)
        reports[title] = lie_derivative(model, images, device=args.device)
    for title, report in reports.items():
        print(f"\n{title}\n| layer | error | in units of turning | contributes |")
        print("|---" * 4 + "|")
        for row in report.rows:
            turning = "-" if row.turning is None else f"{row.turning:.2f}"
            print(
                f"| `{row.quantity}` | {row.error:.2f} | {turning} "
                f"| {row.contribution:.2f} |"
            )
    if args.json:
        found = {title: report.to_dict() for title, report in reports.items()}
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
