"""The images of `out_of_distribution.py`: other lenses, and what is no lens."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from lensequiv.simulation import (
    NoSubstructure,
    PoissonSky,
    Recipe,
    get_recipe,
    simulate,
)


def galaxies(recipe: Recipe, n: int, seed: int, noise: bool = True, **options):
    """Sersic galaxies of several indices and radii where the lens was, unlensed."""
    shapes = [(index, radius) for index in (1.0, 2.5, 4.0) for radius in (0.25, 1.0)]
    parts = []
    for i, (index, radius) in enumerate(shapes):
        bare = replace(
            recipe,
            name="galaxy",
            total_mass=1e-12,
            shear=(0.0, 0.0),
            substructure={"no": NoSubstructure()},
            sersic_index=index,
            effective_radius=radius,
            axis_ratio=(0.4, 1.0),
            **options,
        )
        count = -(-n // len(shapes))
        parts.append(simulate(bare, count, seed=seed + i, noise=noise).images)
    return torch.stack(parts, 1).flatten(0, 1)[:n]


def lens_light(recipe: Recipe, n: int, seed: int):
    """Lenses with a galaxy of 0.1 to 3 times the source's brightness in the centre."""
    rng = np.random.default_rng(seed)
    lenses = simulate(recipe, n, seed=seed, noise=False).images.numpy()
    light = galaxies(recipe, n, seed, noise=False, source_radius=(0.0, 0.0)).numpy()
    factor = 10 ** rng.uniform(-1, 0.5, (n, 1, 1))
    return counts(rng, lenses + factor * (light - recipe.noise.sky))


def counts(rng, expected):
    """Poisson noise."""
    return torch.from_numpy(rng.poisson(expected).astype(np.float32))


def changed(**changes):
    """A set: the recipe with other numbers."""
    return lambda recipe, n, seed: (
        simulate(replace(recipe, **changes), n, seed=seed).images
    )


def fainter(factor: float):
    """A set: the same lenses after a shorter exposure."""
    return lambda recipe, n, seed: (
        simulate(
            replace(
                recipe,
                amplitude=recipe.amplitude / factor,
                noise=PoissonSky(recipe.noise.sky / factor),
            ),
            n,
            seed=seed,
        ).images
    )


def deeplensesim(number: int):
    """A set: DeepLenseSim's, resampled to the recipe's pixels where theirs are larger.

    Model III then covers 102 pixels: cut to 97, the nearest size the networks take.
    """

    def make(recipe: Recipe, n: int, seed: int):
        other = get_recipe(f"deeplensesim{number}")
        images = simulate(other, n, seed=seed).images
        side = round(other.pixels * other.pixel_scale / recipe.pixel_scale)
        if side != other.pixels:
            options = {"mode": "bicubic", "align_corners": False}
            images = F.interpolate(images[:, None], (side, side), **options)[:, 0]
        edge = (side - 97) // 2 if side < 129 else 0
        return images[:, edge : edge + 97, edge : edge + 97] if edge else images

    return make


def noise(recipe: Recipe, n: int, seed: int):
    """Gaussian noise and nothing else."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, 150, 150)).astype(np.float32))


def constant(recipe: Recipe, n: int, seed: int):
    """A constant of 1 to 10,000 counts with Poisson noise."""
    rng = np.random.default_rng(seed)
    level = 10 ** rng.uniform(0, 4, (n, 1, 1))
    return counts(rng, np.broadcast_to(level, (n, 150, 150)))


def gradient(recipe: Recipe, n: int, seed: int):
    """Empty sky of 10 to 1,000 counts that rises by up to half to some side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:150j, -1:1:150j]
    a, b = rng.uniform(-0.5, 0.5, (2, n, 1, 1))
    return counts(rng, 10 ** rng.uniform(1, 3, (n, 1, 1)) * (1 + a * x + b * y))


def star(recipe: Recipe, n: int, seed: int):
    """A point source of 300 to 100,000 counts within half an arcsec of the centre."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-75:75, -75:75] + 0.5
    dy, dx = rng.uniform(-10, 10, (2, n, 1, 1))
    sigma = recipe.psf_sigma / recipe.pixel_scale
    light = np.exp(-0.5 * ((x - dx) ** 2 + (y - dy) ** 2) / sigma**2)
    flux = 10 ** rng.uniform(2.5, 5, (n, 1, 1)) / (2 * np.pi * sigma**2)
    return counts(rng, recipe.noise.sky + flux * light)


def mirrored(recipe: Recipe, n: int, seed: int):
    """The lower half of each image replaced by the mirrored upper half."""
    images = simulate(recipe, n, seed=seed).images
    return torch.cat([images[:, :75], images[:, :75].flip(1)], 1)


def trail(recipe: Recipe, n: int, seed: int):
    """A satellite's trail: a line one pixel wide, a third of the peak bright."""
    images = simulate(recipe, n, seed=seed).images
    rows = torch.arange(150)
    for i, image in enumerate(images):
        image[rows, (rows // 2 + 20 + i % 60) % 150] += image.amax() / 3
    return images


def sets(recipe: Recipe):
    """Name -> what makes n images with a seed."""
    base, _, _ = recipe.name.partition("@")
    other = "modelJ@1" if base == "modelF" else "modelF"
    return {
        other: lambda r, n, seed: simulate(other, n, seed=seed).images,
        **{f"deeplensesim{k}": deeplensesim(k) for k in (1, 2, 3)},
        "noise": noise,
        "constant + noise": constant,
        "sky gradient": gradient,
        "star": star,
        "galaxies, not lensed": galaxies,
        "lens light added": lens_light,
        "satellite trail": trail,
        "mirrored halves": mirrored,
        "PSF 2 times as wide": changed(psf_sigma=2 * recipe.psf_sigma, psf_size=21),
        "PSF 1.25 times": changed(psf_sigma=1.25 * recipe.psf_sigma, psf_size=13),
        "a third of the exposure": fainter(3),
        "two thirds": fainter(1.5),
        "Einstein radius 0.9 times": changed(total_mass=0.81 * recipe.total_mass),
        "halo's axis ratio 0.7": changed(halo_axis_ratio=0.7),
    }
