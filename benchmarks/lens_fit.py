"""Least-squares fits of single images with the simulator, for `fit_originals.py`.

A lens is a vector: the numbers of `SMOOTH`, then those of its substructure. Derivatives
are differences of the simulator's own functions, each taken only of the part that a
parameter changes: where rays meet the source, or the light that they find there.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from fitted_light import (
    POINTS,
    SIZE,
    SMOOTH,
    bent_by,
    light,
    observed,
    smooth_rays,
    source_light,
    traced,
)
from torch import Tensor

SKY = 10.0  # counts/pixel: gives the noise its unit
START = [math.log(1.28), 0, 0, 0, 0, 0, 0, *np.log([0.5, 1.5, 0.086])]
HELD = [7, 8, 9]  # while substructure is sought: what the images share
STEP = 1e-4  # of the differences; every parameter is of order 1
THRESHOLD = 25.0  # of chi^2, for one more point mass
EACH = {"no": 3, "sphere": 3, "vort": 5}  # numbers of one mass, of a vortex


@dataclass
class Fit:
    """Parameters, light and sky (image units), and chi^2."""

    vector: Tensor
    scale: Tensor
    chi2: float


class Response:
    """How the image of a lens changes when its rays or its source do."""

    def __init__(self, vector: Tensor, kind: str, points: int) -> None:
        self.vector, self.kind, self.points = vector, kind, points
        x, y, self.axis = traced(vector, kind, points, 2)
        steps = STEP * torch.eye(len(vector), dtype=vector.dtype)[3:9]
        lights = source_light(x, y, torch.cat([vector[None], vector + steps]))
        self.base = lights[:1]
        self.slopes = (lights[1:] - lights[:1]) / STEP  # x, y, e1, e2, ln R, ln n
        self.image = observed(self.base, 2, vector[9])[0]

    def to_bending(self, bent: tuple[Tensor, Tensor]) -> Tensor:
        """Changes of the image by small deflections (B, n, n), (B, SIZE, SIZE)."""
        # Moving the source has the effect of bending all rays.
        change = self.slopes[0] * bent[0] + self.slopes[1] * bent[1]
        return observed(change, 2, self.vector[9])

    def to_parameters(self) -> Tensor:
        """Derivatives of the image by the vector, (P, SIZE, SIZE)."""
        steps = STEP * torch.eye(3, len(self.vector), dtype=self.vector.dtype)
        moved = smooth_rays(self.vector + steps, self.axis)
        there = smooth_rays(self.vector[None], self.axis)
        bent = [-(a - b) / STEP for a, b in zip(moved, there, strict=True)]
        extra = self.vector[len(SMOOTH) :].view(-1, EACH[self.kind])
        for one in extra:
            shifted = one + STEP * torch.eye(len(one), dtype=one.dtype)
            several = bent_by(
                torch.cat([one[None], shifted]), self.axis, self.kind, self.points
            )
            bent = [
                torch.cat([old, (new[1:] - new[:1]) / STEP])
                for old, new in zip(bent, several, strict=True)
            ]
        by_bending = self.to_bending((bent[0], bent[1]))
        by_source = observed(self.slopes, 2, self.vector[9])
        wider = observed(self.base, 2, self.vector[9] + STEP)
        by_psf = (wider - self.image) / STEP
        return torch.cat([by_bending[:3], by_source, by_psf, by_bending[3:]])


class Problem:
    """One image to fit.

    Args:
        image: (150, 150), in any unit, with Poisson noise on a sky of `SKY` counts.
        kind: Class, which says what substructure to look for.
    """

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

    def jacobian(self, response: Response) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted residual (n,), derivatives (n, P + 2) and scale of a lens."""
        base, weight = response.image, self.weight
        scale = self.solve(base[None])[0][0]
        slopes = response.to_parameters()[self.free(response.vector)] * scale[0]
        slopes = torch.cat([slopes, base[None], torch.ones_like(base)[None]]) * weight
        rest = (self.image - scale[0] * base - scale[1]) * weight
        return rest.ravel(), slopes.flatten(1).T, scale

    def descend(self, vector: Tensor, steps: int = 30) -> Fit:
        """Levenberg-Marquardt from a vector."""
        damping, chi2 = 1e-2, math.inf
        for _ in range(steps):
            response = Response(vector, self.kind, self.points)
            rest, slopes, scale = self.jacobian(response)
            before = chi2 = float(rest.square().sum())
            normal, pull = slopes.T @ slopes, slopes.T @ rest
            while damping < 1e8:
                damped = normal + damping * normal.diagonal().clamp(min=1e-3).diag()
                found = torch.linalg.solve(damped, pull)[:-2].clamp(-0.3, 0.3)
                move = torch.zeros_like(vector)
                move[self.free(vector)] = found
                image = light(vector + move, self.kind, self.points)
                new, found = self.solve(image[None])
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
        images = torch.stack([light(v, "no", rays=1) for v in vectors])
        _, chi2 = self.solve(images)
        best = min(
            (self.descend(vectors[i], 12) for i in chi2.argsort()[:3]),
            key=lambda fit: fit.chi2,
        )
        self.reweigh(best.scale[0] * light(best.vector, "no"))
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
        response = Response(fit.vector, self.kind, self.points)
        rest, slopes, scale = self.jacobian(response)
        basis, _ = torch.linalg.qr(slopes)
        rest = rest - basis @ (basis.T @ rest)
        found = []
        for some in extras.split(16):
            bent = bent_by(some, response.axis, self.kind, self.points)
            change = response.to_bending(bent) * (scale[0] * self.weight)
            change = change.flatten(1)
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

    def masses(self, smooth: Fit, most: int = 20) -> Fit:
        """Point masses, one after the other while they are worth it."""
        axis = torch.arange(-2.1, 2.11, 0.14, dtype=torch.float64)
        x, y = (part.ravel() for part in torch.meshgrid(axis, axis, indexing="xy"))
        inside = torch.hypot(x, y) < 2.15
        grid = torch.stack([x, y, torch.full_like(x, 1e-3)], 1)[inside]
        fit = self.as_recipe(smooth)
        for _ in range(most):
            gain, theta2 = self.candidates(fit, grid, 2)
            first = int(gain.argmax())
            apart = torch.hypot(*(grid[:, :2] - grid[first, :2]).T) > 0.3
            best = fit
            for i in (first, int((gain * apart).argmax())):
                one = torch.cat([grid[i, :2], theta2[i : i + 1].clamp(2e-4, 0.02)])
                tried = self.descend(torch.cat([fit.vector, one]), 8)
                best = min(best, tried, key=lambda f: f.chi2)
            if fit.chi2 - best.chi2 < THRESHOLD:
                break
            fit = best
        return self.release(fit)
