"""Observers who know the lens, and that its substructure is one of a few.

A lens of a recipe is drawn, and with it M substructures of class `sphere` and M of
`vort`. An observer is told all of them and that the image shows the smooth lens, or one
of the M of either class; each class is equally likely. The best that it can do is to
rank by the classes' likelihoods, each the mean over the class's candidates. Whoever
does not know so much cannot do better on average: this observer could close its ears.
With M from 1 upwards it knows less and less, and for M without end no more than the
recipe, so that its scores come down towards those that are possible.

Two kinds of knowledge of the lens itself:

- *known*: the smooth lens is given in all its numbers. Nobody can do better than this
  observer, by the simulator's own distribution of lenses.
- *fitted*: its numbers (those that the recipe draws lens by lens) are to be found from
  the same image. Each candidate is put into the lens whose numbers make its image as
  similar to the smooth one as possible, and what changes of these numbers could do is
  taken out of the differences: the numbers are integrated over, with a flat prior in
  the linear neighbourhood of the lens.

Photon noise is taken as normal deviates of the smooth lens's variance. Then everything
about one lens is in the Gram matrix of the candidates' differences from the smooth
image, over the noise: log-likelihood ratios l are normal with mean G_tk - G_kk / 2 and
covariance G, if t is the truth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lensequiv.plain import gaussian_kernel
from lensequiv.simulation import Recipe, without_substructure
from lensequiv.simulation import _physics as physics
from lensequiv.simulation._blocks import keep_memory
from lensequiv.simulation._deflection import (
    deflect,
    line_deflection,
    point_deflection,
)
from lensequiv.simulation._draw import draw

PIXELS = 108  # side of the frame, more than networks look at; beyond it is sky
NUMBERS = ("theta_e", "gamma1", "gamma2", "source_x", "source_y", "q", "angle")
STEP = 1e-3  # of the differences
PIECE = 16  # lenses rendered together
ALIGNING = 2  # Gauss-Newton steps by which a candidate's lens is fitted
KINDS = ("known", "fitted")


def drawn_numbers(recipe: Recipe) -> list[int]:
    """Which of `NUMBERS` differ from lens to lens."""
    distances = recipe.z_lens[0] < recipe.z_lens[1]
    source = recipe.axis_ratio[0] < recipe.axis_ratio[1]
    free = (distances, True, True, True, True, source, source)
    return [k for k, is_free in enumerate(free) if is_free]


class SmoothLens:
    """A smooth lens: image, derivatives, and the same with substructure.

    Args:
        recipe: One whose lenses are spheres with shear, with Poisson noise.
        lens: What `draw` drew of one lens without substructure.
    """

    def __init__(self, recipe: Recipe, lens: dict[str, np.ndarray]) -> None:
        self.recipe = replace(recipe, pixels=PIXELS)
        self.axis = physics.ray_grid(self.recipe)
        turn = 2 * lens["shear_angle"]
        gamma = lens["shear"] * np.cos(turn), lens["shear"] * np.sin(turn)
        names = ("source_x", "source_y", "axis_ratio", "source_angle")
        own = (lens["theta_e"], *gamma, *(lens[name] for name in names))
        self.vector = torch.tensor([float(x[0]) for x in own], dtype=torch.float64)
        self.factor = float(lens["theta_e"][0] ** 2 / recipe.total_mass)
        self.free = drawn_numbers(recipe)
        self.image = self.render(self.vector[None], None)[0]
        self.weight = self.image.rsqrt()
        steps = STEP * torch.eye(len(NUMBERS), dtype=torch.float64)[self.free]
        self.slopes = self.residual(self.vector + steps, None).T / STEP  # (P, free)
        self.basis, _ = torch.linalg.qr(self.slopes)
        self.pull = torch.linalg.pinv(self.slopes).T  # (P, free)

    def render(self, vectors: Tensor, bent: tuple[Tensor, Tensor] | None) -> Tensor:
        """Expected counts, (B, PIXELS, PIXELS) float32.

        Args:
            vectors: (B, 7) float64, as `NUMBERS`.
            bent: Deflection by substructure, (B, n, n) float32 each.
        """
        theta_e, g1, g2, x, y, q, angle = vectors.T
        none = vectors.new_zeros(len(vectors), 0)
        lens = {
            "theta_e": theta_e,
            "halo_angle": torch.zeros_like(g1),
            "shear": torch.hypot(g1, g2),
            "shear_angle": torch.atan2(g2, g1) / 2,
            **dict.fromkeys(("mass_x", "mass_y", "mass_theta2"), none),
        }
        at_x, at_y = deflect(self.axis, lens, straight=False)
        if bent is not None:
            at_x -= bent[0]
            at_y -= bent[1]
        source = {"source_x": x, "source_y": y, "axis_ratio": q, "source_angle": angle}
        source = {name: value.float() for name, value in source.items()}
        recipe, rays = self.recipe, self.recipe.supersampling
        light = physics.sersic(
            at_x, at_y, source, recipe.sersic_index, recipe.effective_radius
        )
        kernel = gaussian_kernel(
            recipe.psf_sigma / recipe.pixel_scale, recipe.psf_size // 2
        )
        image = physics.blur(physics.sum_blocks(light, rays), kernel)
        return image * (recipe.amplitude / rays**2) + recipe.noise.sky

    def residual(self, vectors: Tensor, bent: tuple[Tensor, Tensor] | None) -> Tensor:
        """Difference from the smooth lens over its noise, (B, P) float32."""
        return ((self.render(vectors, bent) - self.image) * self.weight).flatten(1)

    def differences(
        self, x: Tensor, y: Tensor, mass: Tensor, *, straight: bool
    ) -> dict[str, Tensor]:
        """What substructure changes, over the noise.

        Args:
            x: (M, K) float64 positions in arcsec and masses in solar masses.
            y: See `x`.
            mass: See `x`.
            straight: Whether the masses are vortices.

        Returns:
            (M, P) float32 by kind of knowledge of the lens.
        """
        found: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
        by_masses = line_deflection if straight else point_deflection
        pieces = zip(*(part.split(PIECE) for part in (x, y, mass)), strict=True)
        for at_x, at_y, some in pieces:
            theta2 = some * self.factor
            bent = by_masses(self.axis, at_x, at_y, theta2, dtype=torch.float32)
            vectors = self.vector.repeat(len(some), 1)
            halo = self.vector[0] ** 2 - theta2.sum(1)
            vectors[:, 0] = halo.clamp(min=0).sqrt()
            left = self.residual(vectors, bent)
            found["known"].append(left)
            for _ in range(ALIGNING):
                trial = vectors.clone()
                trial[:, self.free] -= (left @ self.pull.float()).double()
                after = self.residual(trial, bent)
                better = after.square().sum(1) < left.square().sum(1)
                vectors = torch.where(better[:, None], trial, vectors)
                left = torch.where(better[:, None], after, left)
            found["fitted"].append(left - (left @ self.basis) @ self.basis.T)
        return {kind: torch.cat(parts) for kind, parts in found.items()}


def grams(
    recipe: Recipe, candidates: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Gram matrices of one lens, (2 M, 2 M) float64 by kind: M spheres, M vortices."""
    keep_memory()
    lens = SmoothLens(recipe, draw(recipe, recipe.classes.index("no"), rng, 1))
    parts: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    for name in ("sphere", "vort"):
        component = recipe.substructure[name]
        drawn = component.draw(rng, candidates, recipe.total_mass)
        x, y, mass = map(torch.from_numpy, drawn)
        found = lens.differences(x, y, mass, straight=component.straight)
        for kind in KINDS:
            parts[kind].append(found[kind])
    stacked = {kind: torch.cat(part).double() for kind, part in parts.items()}
    return {kind: (d @ d.T).numpy() for kind, d in stacked.items()}


def signal_to_noise(
    recipe: Recipe, label: int, lenses: dict[str, np.ndarray]
) -> np.ndarray:
    """Of what substructure changes once the smooth lens is fitted anew, (N,).

    Args:
        recipe: What the lenses were drawn from.
        label: Their class.
        lenses: What `draw` drew of them.
    """
    smooth = without_substructure(recipe, lenses)
    straight = recipe.substructure[recipe.classes[label]].straight
    found = np.zeros(len(smooth["theta_e"]))
    for i in range(len(found) if lenses["mass_x"].shape[1] else 0):
        one = SmoothLens(recipe, {n: v[i : i + 1] for n, v in smooth.items()})
        places = lenses["mass"][i : i + 1] > 0
        masses = (
            torch.from_numpy(lenses[name][i : i + 1][places])[None]
            for name in ("mass_x", "mass_y", "mass")
        )
        left = one.differences(*masses, straight=straight)["fitted"]
        found[i] = float(left.double().norm())
    return found


def log_evidence(
    gram: np.ndarray, among: int, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the observer computes for lenses of all classes.

    Args:
        gram: (2 M, 2 M) of `grams`.
        among: How many candidates of each class the observer is told; divides M.
        draws: Noise realisations of each candidate.
        rng: Source of randomness.

    Returns:
        Logarithm of the evidence for no, sphere and vort, (N, 3), the true class (N,)
        and the signal-to-noise ratio of the truth (N,); M * draws of each class.
    """
    total = len(gram) // 2
    groups = total // among
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(values.clip(min=0))
    own = np.diag(gram)
    # Smooth lenses are judged with every group's candidates in turn.
    truths = np.concatenate(
        [np.full(among * draws, -1), np.repeat(np.arange(2 * total), draws)]
    )
    noise = rng.standard_normal((len(truths), len(gram))) @ root.T
    mean = np.concatenate([gram, np.zeros((1, len(gram)))])[truths]
    ratio = (mean + noise - own / 2).reshape(len(truths), 2, groups, among)
    peak = ratio.max(3, keepdims=True)
    evidence = np.log(np.exp(ratio - peak).mean(3)) + peak[..., 0]  # (T, 2, groups)
    smooth = truths < 0
    logits = np.zeros((3 * total * draws, 3))
    first = total * draws
    logits[:first, 1:] = evidence[smooth].transpose(0, 2, 1).reshape(-1, 2)
    of_truth = truths[~smooth] % total // among
    logits[first:, 1:] = evidence[~smooth][np.arange(2 * first), :, of_truth]
    labels = np.repeat([0, 1, 2], first)
    snr = np.append(own, 0.0).clip(min=0)[np.where(smooth, -1, truths)] ** 0.5
    return logits, labels, np.concatenate([np.zeros(first), snr[~smooth]])
