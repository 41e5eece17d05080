"""Does a network look at the substructure? Its attributions beside the truth.

    python benchmarks/saliency.py [--quick] [--json FILE] [--weights NAME ...]

Lenses are simulated with a seed that no training used. For each weight, class and
baseline of the integrated gradients (class less `no`, eight gradients an image):

* rho: Spearman correlation, over the pixels of the ring, of the attribution's absolute
  value with the signal-to-noise ratio of what substructure changes there, both smoothed
  with a Gaussian of 0.1 arcsec; and the same with the substructure turned about the
  centre by a random angle of 60 to 300 degrees, in the same lens.
* near: share of the ring's absolute attribution within 0.2 arcsec of a subhalo of 1e9
  solar masses or more, or of the vortex; and the same for 8 turned ones.
* removed: of the images that are classified as their class, the share whose label
  becomes `no` when the lens is rendered without its substructure, with other noise.
  The halo gets the mass back ("mass"), or the ring is kept as it was by the smooth lens
  that resembles the image most ("fit").

A second table enlarges the rings of lenses without substructure: a network that looks
at substructure alone would go on calling them `no`.

"untrained" is a c8 network as initialised. Intervals hold 95 % of 2,000 bootstraps over
the images.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import lensequiv
from lensequiv.files import check_output
from lensequiv.models import LensNetwork
from lensequiv.saliency import (
    Attribution,
    SubstructureSignal,
    integrated_gradients,
    near_substructure,
    rank_correlation,
    share_within,
    smooth_maps,
    substructure_signal,
    turn_substructure,
)
from lensequiv.simulation import (
    Recipe,
    get_recipe,
    render_lenses,
    simulate,
    without_substructure,
)

SEED = 900
STEPS = 8
SMOOTHING = 0.1  # arcsec
RADIUS = 0.2  # arcsec
LEAST_MASS = {"sphere": 1e9, "vort": 0.0}
TURNS = 8
RING_GROWTH = (0.0, 0.01, 0.02, 0.03, 0.05)  # arcsec

Parameters = dict[str, NDArray[np.float64]]


class Lenses:
    """Simulated lenses of one class, with where their substructure shows."""

    def __init__(self, recipe: Recipe, name: str, n: int) -> None:
        simulation = simulate(recipe, n * len(recipe.classes), seed=SEED)
        chosen = simulation.labels == recipe.classes.index(name)
        self.recipe, self.name = recipe, name
        self.images = simulation.images[chosen]
        self.parameters: Parameters = {
            key: value[chosen.numpy()] for key, value in simulation.parameters.items()
        }
        rng = np.random.default_rng(SEED)
        angles = rng.uniform(60, 300, (TURNS, n))
        self.turned = [turn_substructure(self.parameters, a) for a in angles]
        self.truth = self.signal(self.parameters)
        self.control = self.signal(self.turned[0])

    def signal(self, parameters: Parameters) -> SubstructureSignal:
        """Where these masses would show."""
        straight = self.recipe.substructure[self.name].straight
        return substructure_signal(self.recipe, parameters, straight=straight)


def measure(found: Attribution, lenses: Lenses) -> dict[str, NDArray[np.float64]]:
    """Agreement with the truth and with the turned one, image by image."""
    scale = lenses.recipe.pixel_scale
    ring = found.crop(lenses.truth.ring)
    blurred = smooth_maps(found.maps.abs(), SMOOTHING / scale)

    def rho(signal: SubstructureSignal) -> NDArray[np.float64]:
        size = smooth_maps(found.crop(signal.snr).abs(), SMOOTHING / scale)
        return rank_correlation(blurred, size, ring)

    def near(parameters: Parameters) -> NDArray[np.float64]:
        least = LEAST_MASS[lenses.name]
        where = near_substructure(parameters, found.axes(scale), RADIUS, least)
        return share_within(found.maps, where, ring)

    return {
        "rho": rho(lenses.truth),
        "rho_turned": rho(lenses.control),
        "near": near(lenses.parameters),
        "near_turned": np.mean([near(p) for p in lenses.turned], 0),
        "error": (found.error.abs() / found.difference.abs()).numpy(),
    }


def classify(
    model: LensNetwork, recipe: Recipe, expected: torch.Tensor
) -> torch.Tensor:
    """Labels of smooth lenses, given their expected counts, with fresh noise."""
    noisy = [
        recipe.noise.add(np.random.default_rng([SEED, i]), image, 1.0)
        for i, image in enumerate(expected.numpy())
    ]
    return model.predict(np.stack(noisy)).logits.argmax(1)


def removed(model: LensNetwork, lenses: Lenses) -> dict[str, float]:
    """What becomes of the recognised images without their substructure."""
    known = model.predict(lenses.images).logits.argmax(1) == list(model.classes).index(
        lenses.name
    )
    recipe, n = lenses.recipe, int(known.sum())
    result: dict[str, float] = {"recognised": n}
    plain = render_lenses(recipe, without_substructure(recipe, lenses.parameters))
    for key, expected in (("mass", plain), ("fit", lenses.truth.smooth)):
        became = classify(model, recipe, expected)[known] == 0
        result[f"removed_{key}"] = float(became.float().mean()) if n else float("nan")
    return result


def ring_size(model: LensNetwork, recipe: Recipe, n: int) -> dict[str, float]:
    """Share called `no` of smooth lenses with a larger Einstein radius, by arcsec."""
    s = simulate(recipe, n * len(recipe.classes), seed=SEED)
    smooth = {k: v[(s.labels == 0).numpy()] for k, v in s.parameters.items()}
    result = {}
    for more in RING_GROWTH:
        lens = {**smooth, "theta_e": smooth["theta_e"] + more}
        labels = classify(model, recipe, render_lenses(recipe, lens))
        result[f"{more:.2f}"] = float((labels == 0).float().mean())
    return result


def interval(values: NDArray[np.float64]) -> list[float]:
    """Mean, and the bounds of its bootstrap interval."""
    values = values[np.isfinite(values)]
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(2000, len(values)))].mean(1)
    return [float(values.mean()), *map(float, np.quantile(means, [0.025, 0.975]))]


def load(name: str) -> tuple[LensNetwork, Recipe]:
    """A network, and the recipe it was trained on (Model F where none is known)."""
    if name == "untrained":
        torch.manual_seed(0)
        return lensequiv.create_model("c8").eval(), get_recipe("modelF")
    return (
        lensequiv.from_pretrained(name),
        get_recipe("modelJ@1" if "modelJ" in name else "modelF"),
    )


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="16 lenses, not 150")
    parser.add_argument("--json", type=check_output, help="file to write")
    default = ["c8-modelF", "c8-modelJ", "untrained"]
    parser.add_argument("--weights", nargs="+", default=default)
    args = parser.parse_args()
    count = 16 if args.quick else 150
    known: dict[tuple[str, str], Lenses] = {}
    results: dict = {"maps": [], "ring_size": {}}
    print(
        f"{'weights':12s} {'class':7s} {'baseline':8s} {'rho':>6s} {'turned':>6s} "
        f"{'difference':>20s} {'near':>6s} {'turned':>6s} {'difference':>20s} "
        f"{'mass':>6s} {'fit':>6s} {'error':>6s}"
    )
    for weights in args.weights:
        model, recipe = load(weights)
        for name in LEAST_MASS:
            key = (recipe.name, name)
            if key not in known:
                known[key] = Lenses(recipe, name, count)
            lenses = known[key]
            gone = removed(model, lenses)
            for kind, baseline in (("blur", "blur"), ("smooth", lenses.truth.smooth)):
                found = integrated_gradients(
                    model,
                    lenses.images,
                    target=name,
                    against="no",
                    baseline=baseline,
                    steps=STEPS,
                    progress=True,
                )
                each = measure(found, lenses)
                row = {
                    "weights": weights,
                    "recipe": recipe.name,
                    "class": name,
                    "baseline": kind,
                    "images": count,
                    **{k: interval(v) for k, v in each.items() if k != "error"},
                    "rho_difference": interval(each["rho"] - each["rho_turned"]),
                    "near_difference": interval(each["near"] - each["near_turned"]),
                    **gone,
                    "median_relative_error": float(np.median(each["error"])),
                }
                results["maps"].append(row)
                print(table_line(row), flush=True)
    print("\nshare of smooth lenses called `no`, by growth of the ring in arcsec")
    print(f"{'weights':12s} " + " ".join(f"{more:6.2f}" for more in RING_GROWTH))
    for weights in args.weights:
        model, recipe = load(weights)
        shares = ring_size(model, recipe, count)
        results["ring_size"][weights] = shares
        line = " ".join(f"{share:6.3f}" for share in shares.values())
        print(f"{short(weights):12s} {line}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def short(weights: str) -> str:
    """A name for the table: the folder of a run's `weights`."""
    path = Path(weights)
    return (path.parent.name if path.name == "weights" else weights)[:12]


def table_line(row: dict) -> str:
    """One line of the table."""

    def difference(key: str) -> str:
        mean, low, high = row[key]
        return f"{mean:+.3f} [{low:+.3f},{high:+.3f}]".rjust(20)

    return (
        f"{short(row['weights']):12s} {row['class']:7s} {row['baseline']:8s} "
        f"{row['rho'][0]:6.3f} {row['rho_turned'][0]:6.3f} "
        f"{difference('rho_difference')} {row['near'][0]:6.3f} "
        f"{row['near_turned'][0]:6.3f} {difference('near_difference')} "
        f"{row['removed_mass']:6.3f} {row['removed_fit']:6.3f} "
        f"{row['median_relative_error']:6.3f}"
    )


if __name__ == "__main__":
    main()
