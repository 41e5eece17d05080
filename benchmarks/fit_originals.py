"""What images of the study's sets allow the recipe of Model J to be.

    python benchmarks/fit_originals.py IMAGES.npz [--classes vort] [--json FILE]
    python benchmarks/fit_originals.py --simulated modelJ@1 --images 60

The file holds `images` (N, 150, 150) scaled to [0, 1] and `labels` (no, sphere, vort).
Each image is fitted with the simulator: halo, shear, one Sersic source, point-spread
function and sky, then the substructure of its class: one vortex, or point masses, one
after the other while each lowers chi^2 by more than 25. The second form fits simulated
images whose truth is known, stored with 8 bits, and prints how far off the fits are.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lensequiv.plain import gaussian_kernel
from lensequiv.simulation import _physics as physics
from lensequiv.simulation import get_recipe, simulate
from lensequiv.simulation._blocks import keep_memory

SIZE, BORDER = 108, 5  # pixels that are fitted, and what the PSF needs around them
RECIPE = replace(get_recipe("modelJ"), pixels=SIZE + 2 * BORDER)
SKY = 10.0  # counts/pixel: gives the noise its unit
SMOOTH = ("ln theta_e", "g1", "g2", "x", "y", "e1", "e2", "ln R", "ln n", "ln psf")
START = [math.log(1.28), 0, 0, 0, 0, 0, 0, *np.log([0.5, 1.5, 0.086])]
HELD = [7, 8, 9]  # while substructure is sought: what the images share
STEP = 1e-4  # of the derivatives; every parameter is of order 1
THRESHOLD = 25.0  # of chi^2, for one more point mass
POINTS = 100  # of a vortex


@dataclass
class Fit:
    """Parameters, light and sky (image units), chi^2 and the number of pixels."""

    vector: Tensor
    scale: Tensor
    chi2: float


def ellipse(e1: Tensor, e2: Tensor) -> tuple[Tensor, Tensor]:
    """Axis ratio and angle of lenstronomy's ellipticity components."""
    modulus = torch.hypot(e1, e2).clamp(max=0.75)
    return (1 - modulus) / (1 + modulus), torch.atan2(e2, e1) / 2


def light(vectors: Tensor, kind: str, points: int = POINTS, rays: int = 2) -> Tensor:
    """Images of brightness 1 at the effective radius, (B, SIZE, SIZE).

    Args:
        vectors: (B, 10 + K) rows of `SMOOTH`, then x, y, ln length, angle, theta^2 of a
            vortex, or x, y and theta^2 of each point mass.
        kind: Class.
        points: Number of a vortex's point masses.
        rays: Per pixel and axis.
    """
    p = dict(zip(SMOOTH, vectors.T, strict=False))
    q, angle = ellipse(p["e1"], p["e2"])
    lens = {
        "theta_e": p["ln theta_e"].exp(),
        "halo_angle": torch.zeros_like(q),
        "shear": torch.hypot(p["g1"], p["g2"]),
        "shear_angle": torch.atan2(p["g2"], p["g1"]) / 2,
    }
    extra = vectors[:, len(SMOOTH) :]
    straight = kind == "vort" and extra.shape[1] > 0
    if straight:
        x, y, ln_length, turn, theta2 = extra.T[..., None]
        along = torch.linspace(-0.5, 0.5, points, dtype=x.dtype) * ln_length.exp()
        lens["mass_x"], lens["mass_y"] = x + along * turn.cos(), y + along * turn.sin()
        lens["mass_theta2"] = (theta2 / points).expand(-1, points)
    else:
        lens["mass_x"], lens["mass_y"], lens["mass_theta2"] = extra.reshape(
            len(extra), -1, 3
        ).unbind(2)
    recipe = replace(RECIPE, supersampling=rays)
    axis = physics.ray_grid(recipe)
    x, y = physics.deflect(axis, lens, straight=straight, dtype=torch.float64)
    source = {
        "source_x": p["x"],
        "source_y": p["y"],
        "axis_ratio": q,
        "source_angle": angle,
    }
    index, radius = (p[name].exp()[:, None, None] for name in ("ln n", "ln R"))
    image = physics.sum_blocks(physics.sersic(x, y, source, index, radius), rays)
    image /= rays**2
    for sigma in p["ln psf"].unique():
        kernel = gaussian_kernel(float(sigma.exp()) / 0.05, 5)
        same = p["ln psf"] == sigma
        image[same] = physics.blur(image[same], kernel)
    return image[:, BORDER:-BORDER, BORDER:-BORDER]


class Problem:
    """One image to fit."""

    def __init__(self, image: np.ndarray, kind: str) -> None:
        cut = (image.shape[0] - SIZE) // 2
        corners = np.concatenate([image[:12].ravel(), image[-12:].ravel()])
        spread = 1.4826 * np.median(np.abs(np.diff(corners))) / math.sqrt(2)
        spread = max(float(spread), 0.6 * float(np.diff(corners).std() / math.sqrt(2)))
        self.unit = math.sqrt(SKY) / spread  # counts in the image's 1
        image = image[cut : cut + SIZE, cut : cut + SIZE]
        self.image = torch.from_numpy(image.astype(np.float64))
        self.kind, self.points, self.held = kind, POINTS, False
        self.reweigh(self.image.clamp(min=0))

    def reweigh(self, expected: Tensor) -> None:
        """Takes the noise from expected brightness above the sky."""
        variance = (SKY + expected * self.unit) / self.unit**2
        self.weight = (variance + (0.3 / 255) ** 2).rsqrt()

    def solve(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Best amplitude and sky of each image, (B, 2), and chi^2, (B,)."""
        w2 = self.weight.square()
        total, a = w2.sum(), (images * w2).sum((1, 2))
        aa, d = (images.square() * w2).sum((1, 2)), (self.image * w2).sum()
        ad = (images * self.image * w2).sum((1, 2))
        det = aa * total - a * a
        scale = (ad * total - a * d) / det
        sky = (aa * d - a * ad) / det
        rest = (self.image - scale[:, None, None] * images - sky[:, None, None]).mul_(
            self.weight
        )
        return torch.stack([scale, sky], 1), rest.square().sum((1, 2))

    def free(self, vector: Tensor) -> list[int]:
        """Which parameters are fitted: all, or all but the source's shape and PSF."""
        return [i for i in range(len(vector)) if not (self.held and i in HELD)]

    def as_recipe(self, smooth: Fit) -> Fit:
        """The smooth lens with the recipe's source and PSF, held from now on."""
        vector = smooth.vector.clone()
        vector[HELD] = torch.tensor(START, dtype=vector.dtype)[HELD]
        self.held = True
        return self.descend(vector, 8)

    def release(self, fit: Fit, steps: int = 8) -> Fit:
        """The last steps, in which everything is free."""
        self.held = False
        return self.descend(fit.vector, steps)

    def jacobian(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted residual (n,), derivatives (n, P + 2) and scale at a vector."""
        steps = STEP * torch.eye(len(vector), dtype=vector.dtype)[self.free(vector)]
        shifted = torch.cat([vector[None], vector + steps])
        images = light(shifted, self.kind, self.points)
        scale, _ = self.solve(images[:1])
        base, weight = images[0], self.weight
        slopes = (images[1:] - base) * (scale[0, 0] / STEP)
        slopes = torch.cat([slopes, base[None], torch.ones_like(base)[None]]) * weight
        rest = (self.image - scale[0, 0] * base - scale[0, 1]) * weight
        return rest.ravel(), slopes.flatten(1).T, scale[0]

    def descend(self, vector: Tensor, steps: int = 30) -> Fit:
        """Levenberg-Marquardt from a vector."""
        damping, chi2 = 1e-2, math.inf
        for _ in range(steps):
            rest, slopes, scale = self.jacobian(vector)
            before = chi2 = float(rest.square().sum())
            normal, pull = slopes.T @ slopes, slopes.T @ rest
            while damping < 1e8:
                damped = normal + damping * normal.diagonal().clamp(min=1e-3).diag()
                found = torch.linalg.solve(damped, pull)[:-2].clamp(-0.3, 0.3)
                move = torch.zeros_like(vector)
                move[self.free(vector)] = found
                new, found = self.solve(
                    light(vector[None] + move, self.kind, self.points)
                )
                if float(found) < chi2:
                    vector, scale, chi2 = vector + move, new[0], float(found)
                    damping /= 5
                    break
                damping *= 4
            if before - chi2 < 0.02:
                break
        return Fit(vector, scale, chi2)

    def smooth(self) -> Fit:
        """The best lens without substructure, from the best of many starts."""
        kind, self.kind = self.kind, "no"
        starts = []
        for g in (0.05, 0.15, 0.25):
            for radius in (0.0, 0.12, 0.25, 0.4):
                for turn in range(8 if radius else 1):
                    at = radius * np.exp(0.25j * math.pi * turn)
                    starts.append([*START[:1], g, 0, at.real, at.imag, *START[5:]])
        vectors = torch.tensor(starts, dtype=torch.float64)
        images = torch.cat([light(v, "no", rays=1) for v in vectors.split(25)])
        _, chi2 = self.solve(images)
        best = min(
            (self.descend(vectors[i], 12) for i in chi2.argsort()[:3]),
            key=lambda fit: fit.chi2,
        )
        self.reweigh(best.scale[0] * light(best.vector[None], "no")[0])
        best = self.descend(best.vector)
        self.kind = kind
        return best

    def candidates(self, fit: Fit, extras: Tensor, mass: int) -> Tensor:
        """Gain in chi^2 of small extra masses, the rest of the lens following.

        Args:
            fit: The lens so far.
            extras: (M, E) parameters of what is added, with a small mass.
            mass: Which of the E is the mass.

        Returns:
            (M,) gains and (M,) best masses.
        """
        rest, slopes, scale = self.jacobian(fit.vector)
        basis, _ = torch.linalg.qr(slopes)
        base = light(fit.vector[None], self.kind, self.points)[0]
        rest = rest - basis @ (basis.T @ rest)
        found = []
        for some in extras.split(16):
            vectors = torch.cat([fit.vector.expand(len(some), -1), some], 1)
            change = light(vectors, self.kind, self.points) - base
            change = (change * (scale[0] * self.weight)).flatten(1)
            change -= (change @ basis) @ basis.T
            overlap, norm = change @ rest, change.square().sum(1)
            gain = torch.where(overlap > 0, overlap.square() / norm, 0.0)
            found.append(torch.stack([gain, overlap / norm * some[:, mass]]))
        return torch.cat(found, 1)

    def vortex(self, smooth: Fit, rng: np.random.Generator) -> Fit:
        """The best vortex, from the best of 240 starts."""
        starts = np.stack(
            [
                *rng.normal(0, 0.6, (2, 240)),
                np.log(rng.uniform(0.3, 4.5, 240)),
                rng.uniform(0, math.pi, 240),
                np.full(240, 0.02),
            ],
            1,
        )
        smooth = self.as_recipe(smooth)
        extras = torch.from_numpy(starts)
        gain, theta2 = self.candidates(smooth, extras, 4)
        extras[:, 4] = theta2.clamp(0.005, 0.15)
        fits = []
        for i in gain.argsort(descending=True)[:4]:
            vector = torch.cat([smooth.vector, extras[i]])
            vector[0] = 0.5 * (2 * vector[0]).exp().sub(extras[i, 4]).log()
            fits.append(self.descend(vector, 8))
        best = min(fits, key=lambda fit: fit.chi2)
        return self.release(self.descend(best.vector, 20))

    def masses(self, smooth: Fit, most: int = 14) -> Fit:
        """Point masses, one after the other while they are worth it."""
        axis = torch.arange(-2.1, 2.11, 0.14, dtype=torch.float64)
        x, y = (part.ravel() for part in torch.meshgrid(axis, axis, indexing="xy"))
        inside = torch.hypot(x, y) < 2.15
        grid = torch.stack([x, y, torch.full_like(x, 1e-3)], 1)[inside]
        fit = self.as_recipe(smooth)
        for _ in range(most):
            gain, theta2 = self.candidates(fit, grid, 2)
            best = fit
            for i in gain.argsort(descending=True)[:2]:
                one = torch.cat([grid[i, :2], theta2[i : i + 1].clamp(2e-4, 0.02)])
                tried = self.descend(torch.cat([fit.vector, one]), 8)
                best = min(best, tried, key=lambda f: f.chi2)
            if fit.chi2 - best.chi2 < THRESHOLD:
                break
            fit = best
        return self.release(fit)


def summary(problem: Problem, smooth: Fit, fit: Fit) -> dict:
    """A fit in the recipe's terms."""
    p = dict(zip(SMOOTH, fit.vector.tolist(), strict=False))
    q, angle = ellipse(*fit.vector[5:7])
    extra = fit.vector[len(SMOOTH) :]
    theta2 = extra[4:5] if problem.kind == "vort" else extra[2::3]
    whole = math.exp(2 * p["ln theta_e"]) + float(theta2.sum())
    rest, _, _ = problem.jacobian(fit.vector)
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
        mass = theta2 / whole * 1e12
        radius = torch.hypot(extra[0::3], extra[1::3])
        found["subhalos"] = {"mass": mass.tolist(), "radius": radius.tolist()}
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


def main() -> None:
    """Fits and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?", help="an .npz file")
    parser.add_argument("--simulated", metavar="RECIPE", help="fit simulations instead")
    parser.add_argument("--number", type=int, default=60, help="of simulations")
    parser.add_argument("--classes", nargs="+", default=["no", "sphere", "vort"])
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
    results = fit_all(images[keep], [labels[i] for i in keep], args.points)
    if truth is not None:
        for found, i in zip(results, keep, strict=True):
            found["truth"] = {
                k: np.atleast_1d(v[i]).tolist() for k, v in truth.parameters.items()
            }
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
