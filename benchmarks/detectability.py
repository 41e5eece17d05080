"""How much evidence of substructure the images hold at all.

    python benchmarks/detectability.py [--sets modelF deeplensesim2-noisy ...]
        [--images N] [--seed N] [--json FILE]

For lenses with substructure: the signal-to-noise ratio of the whole difference between
the expected image and that of the smooth lens which resembles it most
(`lensequiv.saliency.substructure_signal`: Einstein radius, shear and source position
are fitted anew). A classifier that knew the lens, the source and the substructure it
looks for, and had only to say whether it is there, would be wrong as often as a normal
variable exceeds half of it; a network knows none of these. Below about 5 nobody can
tell.
"""

import argparse
import json

import numpy as np

from lensequiv.files import check_output
from lensequiv.saliency import substructure_signal
from lensequiv.simulation import get_recipe
from lensequiv.simulation._blocks import simulate_range

LIMITS = (3, 5, 10, 20)


def main() -> None:
    """Prints a row for each set and class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["modelF", "modelJ"])
    parser.add_argument("--images", type=int, default=512, help="of each class")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    results = {}
    below = " | ".join(f"below {limit}" for limit in LIMITS)
    print(f"| set | class | 1 % | median | {below} |")
    print("|---" * (4 + len(LIMITS)) + "|")
    for name in args.sets:
        recipe = get_recipe(name)
        for label, kind in enumerate(recipe.classes):
            if kind == "no":
                continue
            _, parameters = simulate_range(
                recipe, label, args.seed, 0, args.images, noise=False
            )
            straight = recipe.substructure[kind].straight
            signal = substructure_signal(recipe, parameters, straight=straight)
            snr = np.sqrt(signal.snr.double().square().sum((1, 2)).numpy())
            shares = {limit: float((snr < limit).mean()) for limit in LIMITS}
            low, middle = np.quantile(snr, [0.01, 0.5])
            results[f"{name} {kind}"] = {"1 %": low, "median": middle, **shares}
            cells = " | ".join(f"{share:.1%}" for share in shares.values())
            print(f"| {name} | `{kind}` | {low:.1f} | {middle:.3g} | {cells} |")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
