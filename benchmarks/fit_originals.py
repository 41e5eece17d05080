"""What images of the study's sets allow the recipe of Model J to be.

    python benchmarks/fit_originals.py IMAGES.npz [--classes vort] [--json FILE]
    python benchmarks/fit_originals.py --simulated modelJ --number 90 --classes sphere

The file holds `images` (N, 150, 150) scaled to [0, 1] and `labels` (no, sphere, vort).
Each image is fitted with the simulator: halo, shear, one Sersic source, point-spread
function and sky, then the substructure of its class: one vortex, or point masses, one
after the other while each lowers chi^2 by more than 25. `--seek sphere` looks for point
masses in all classes, which tells how many are found where there are none. The second
form fits simulated images whose truth is known, stored with 8 bits: what it finds is to
be compared with what it finds in the originals.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from fitted_light import POINTS, SIZE, SMOOTH, ellipse
from lens_fit import Fit, Problem, Response

from lensequiv.simulation import simulate
from lensequiv.simulation._blocks import keep_memory

WHOLE = 1e12  # solar masses: halo and substructure
HEAVY, NEAR = 1e9, 0.15  # solar masses, arcsec: what counts, what belongs together


def summary(problem: Problem, smooth: Fit, fit: Fit) -> dict:
    """A fit in the recipe's terms."""
    p = dict(zip(SMOOTH, fit.vector.tolist(), strict=False))
    q, angle = ellipse(*fit.vector[5:7])
    extra = fit.vector[len(SMOOTH) :]
    theta2 = extra[4:5] if problem.kind == "vort" else extra[2::3]
    whole = math.exp(2 * p["ln theta_e"]) + float(theta2.sum())
    rest, _, _ = problem.jacobian(Response(fit.vector, problem.kind, problem.points))
    # Noise of a Poisson image: variance = (brightness above sky + sky) / unit.
    found = {
        "chi2 per pixel": fit.chi2 / SIZE**2,
        "chi2 of the smooth lens": smooth.chi2 / SIZE**2,
        "theta_e of all": math.sqrt(whole),
        "shear": math.hypot(p["g1"], p["g2"]),
        "shear angle": math.degrees(math.atan2(p["g2"], p["g1"]) / 2),
        "source radius": math.hypot(p["x"], p["y"]),
        "axis ratio": float(q),
        "source angle": math.degrees(float(angle)),
        "R_e": math.exp(p["ln R"]),
        "n": math.exp(p["ln n"]),
        "psf": math.exp(p["ln psf"]),
        "amplitude": float(fit.scale[0]) * problem.unit,
        "brightest residual": float(rest.abs().max()),
    }
    if problem.kind == "vort":
        found["vortex"] = {
            "x": float(extra[0]),
            "y": float(extra[1]),
            "length": math.exp(float(extra[2])),
            "fraction": float(extra[4]) / whole,
        }
    if problem.kind == "sphere":
        found["subhalos"] = {
            "x": extra[0::3].tolist(),
            "y": extra[1::3].tolist(),
            "mass": (theta2 / whole * WHOLE).tolist(),
        }
    return found


def fit_all(images: np.ndarray, labels: list[str], points: list[int]) -> list[dict]:
    """Fits images, one line each."""
    rng = np.random.default_rng(0)
    results = []
    for i, (image, kind) in enumerate(zip(images, labels, strict=True)):
        start = time.perf_counter()
        problem = Problem(image, kind)
        smooth = fit = problem.smooth()
        if kind == "vort":
            fit = problem.vortex(smooth, rng)
        elif kind == "sphere":
            fit = problem.masses(smooth)
        found = {"index": i, "label": kind, **summary(problem, smooth, fit)}
        for count in points if kind == "vort" else []:
            problem.points = count
            found[f"chi2 with {count} points"] = problem.descend(fit.vector, 10).chi2
        if points and kind == "vort":
            found[f"chi2 with {POINTS} points"] = fit.chi2
        results.append(found)
        text = {k: round(v, 3) for k, v in found.items() if isinstance(v, float)}
        rest = {k: v for k, v in found.items() if isinstance(v, dict)}
        print(i, kind, f"{time.perf_counter() - start:.1f} s", text, rest, flush=True)
    return results


def masses_of(lens: dict) -> np.ndarray:
    """x, y (arcsec) and mass (solar masses) of a fit's or a truth's masses, (K, 3)."""
    names = ("x", "y", "mass") if "x" in lens else ("mass_x", "mass_y", "mass")
    return np.array([lens[name] for name in names]).reshape(3, -1).T


def population(lenses: list[np.ndarray]) -> str:
    """How many heavy masses lenses have, how heavy, and how far out."""
    heavy = [masses[masses[:, 2] > HEAVY] for masses in lenses]
    number, every = np.array([len(masses) for masses in heavy]), np.concatenate(heavy)
    total = np.array([masses[:, 2].sum() for masses in lenses]) / WHOLE
    if not len(every):
        return "none"
    mass = np.percentile(every[:, 2], [25, 50, 75, 100]) / 1e9
    radius = np.percentile(np.hypot(every[:, 0], every[:, 1]), [25, 50, 75, 95])
    error = number.std(ddof=1) / math.sqrt(len(number))
    return (
        f"{number.mean():.2f} +- {error:.2f} a lens (spread {number.std(ddof=1):.2f}), "
        f"masses {np.round(mass, 2)}e9 (quartiles, largest), "
        f"radii {np.round(radius, 2)} (quartiles, 95 %), "
        f"all masses {total.mean():.4f} of the lens"
    )


def recovered(found: list[np.ndarray], truth: list[np.ndarray]) -> str:
    """How many true masses are found, by mass, and how many of those found are true."""
    rows: list[tuple[float, bool]] = []
    false = count = 0
    for there, true in zip(found, truth, strict=True):
        apart = np.hypot(*(there[:, None, :2] - true[None, :, :2]).transpose(2, 0, 1))
        hit = (apart < NEAR).any(0) if len(there) else np.zeros(len(true), bool)
        rows += zip(true[:, 2], hit, strict=True)
        counted = there[:, 2] > HEAVY
        count += int(counted.sum())
        alone = (apart[:, true[:, 2] > HEAVY / 4] > NEAR).all(1)
        false += int((counted & alone).sum())
    mass, hit = np.array(rows).T
    bins = zip((1e8, 5e8, 1e9, 2e9, 5e9), (5e8, 1e9, 2e9, 5e9, 1e10), strict=True)
    shares = [
        f"{low:.0e}: {hit[(mass >= low) & (mass < high)].mean():.2f}"
        for low, high in bins
    ]
    return f"found of masses from {', '.join(shares)}; {false} of {count} are no masses"


def main() -> None:
    """Fits and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?", help="an .npz file")
    parser.add_argument("--simulated", metavar="RECIPE", help="fit simulations instead")
    parser.add_argument("--number", type=int, default=60, help="of simulations")
    parser.add_argument("--classes", nargs="+", default=["no", "sphere", "vort"])
    parser.add_argument("--seek", choices=["sphere", "vort"], help="in all classes")
    parser.add_argument("--points", type=int, nargs="*", default=[])
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    truth = None
    if args.simulated:
        truth = simulate(args.simulated, args.number, seed=909)
        counts = truth.images.numpy()
        low, high = counts.min((1, 2), keepdims=True), counts.max((1, 2), keepdims=True)
        images = np.round((counts - low) / (high - low) * 255) / 255
        labels = [truth.classes[i] for i in truth.labels]
    else:
        with np.load(args.images, allow_pickle=False) as file:
            images, labels = file["images"].astype(np.float64), file["labels"].tolist()
    keep = [i for i, label in enumerate(labels) if label in args.classes]
    kinds = [args.seek or labels[i] for i in keep]
    results = fit_all(images[keep], kinds, args.points)
    if truth is not None:
        for found, i in zip(results, keep, strict=True):
            found["truth"] = {
                k: np.atleast_1d(v[i]).tolist() for k, v in truth.parameters.items()
            }
    spheres = [found for found in results if "subhalos" in found]
    lenses = [masses_of(found["subhalos"]) for found in spheres]
    if spheres:
        print("above 1e9 found:", population(lenses))
    if spheres and truth is not None:
        true = [masses_of(found["truth"]) for found in spheres]
        print("above 1e9 in truth:", population(true))
        print(recovered(lenses, true))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
