"""What the out-of-distribution scores notice, and at what price in false alarms.

    python benchmarks/out_of_distribution.py [--quick] [--real FOLDER] [--json FILE]

For each weight: fresh images of its own recipe (false alarms), other recipes, lenses
that differ a little, things that are no lenses, and, with `--real`, the FITS images
below a folder. Every candidate score is fitted to simulated images of the recipe, its
threshold set for 1 % of false alarms by five folds of these. The column `stored` is the
score of `predict` with the parameters that come with the weight, `flagged` the share of
images that `predict` warns of, for whatever reason. Each cell: detection rate in
percent, and the ROC AUC against fresh images of the recipe. Needs the extras `sim` and
`train`, and `fits` for `--real`.
"""

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from tqdm.auto import tqdm

import lensequiv
from lensequiv.data import find_images, read_image
from lensequiv.domain import image_features, statistics_out_of_range
from lensequiv.domain._fitting import fit_gaussians
from lensequiv.files import check_output
from lensequiv.simulation import (
    NoSubstructure,
    PoissonSky,
    Recipe,
    get_recipe,
    simulate,
)

SEED = 7000  # and the next: no data set of the project uses them
FALSE_ALARMS = 0.01


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


class Features:
    """What the candidates are computed from, image by image."""

    def __init__(self, model, images, batch_size=50):
        plain, found = model.to_torch(), []
        with torch.no_grad():
            for batch in images.split(batch_size):
                x = model.preprocess(batch[:, None])
                found.append(
                    (image_features(x), *reversed(plain.logits_and_embedding(x)))
                )
        parts = (torch.cat(v).double() for v in zip(*found, strict=True))
        self.pixels, self.embedding, self.logits = parts

    def __getitem__(self, rows):
        """The same of some of the images."""
        part = object.__new__(Features)
        for name, value in vars(self).items():
            setattr(part, name, value[rows])
        return part


def mahalanobis(name):
    """Distance from the nearest class mean."""

    def fit(known, labels):
        gaussians = fit_gaussians(getattr(known, name), labels, 3)
        return lambda f: gaussians.distance(getattr(f, name))

    return fit


def relative(known, labels):
    """Squared distance from the nearest class minus that from all as one class."""
    classes = fit_gaussians(known.embedding, labels, 3)
    whole = fit_gaussians(known.embedding, torch.zeros_like(labels), 1)
    return lambda f: (
        classes.distance(f.embedding) ** 2 - whole.distance(f.embedding) ** 2
    )


def neighbours(name):
    """Distance from the tenth nearest of 1,000 images, in whitened coordinates."""

    def fit(known, labels):
        g = fit_gaussians(getattr(known, name), torch.zeros_like(labels), 1)

        def coordinates(f):
            x = getattr(f, name)
            return ((x - g.center) @ g.whitening.double()).clamp(-1e6, 1e6).numpy()

        index = NearestNeighbors(n_neighbors=10).fit(coordinates(known)[:1000])
        return lambda f: torch.from_numpy(index.kneighbors(coordinates(f))[0][:, -1])

    return fit


def larger(known, labels):
    """The larger of the distances of pixels and embedding: what lensequiv stores."""
    fits = [mahalanobis(name)(known, labels) for name in ("pixels", "embedding")]
    scales = [score(known).quantile(1 - FALSE_ALARMS) for score in fits]
    return lambda f: torch.stack(
        [score(f) / scale for score, scale in zip(fits, scales, strict=True)]
    ).amax(0)


CANDIDATES = {
    "softmax": lambda known, labels: lambda f: -f.logits.softmax(1).amax(1),
    "energy": lambda known, labels: lambda f: -f.logits.logsumexp(1),
    "relative": relative,
    "kNN emb.": neighbours("embedding"),
    "kNN pixels": neighbours("pixels"),
    "emb.": mahalanobis("embedding"),
    "pixels": mahalanobis("pixels"),
    "larger": larger,
}


def fitted(fit, known, labels):
    """A score, its threshold set by five folds."""
    fold = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)) % 5
    held_out = torch.empty(len(labels), dtype=torch.float64)
    for i in range(5):
        held_out[fold == i] = fit(known[fold != i], labels[fold != i])(known[fold == i])
    return fit(known, labels), float(held_out.quantile(1 - FALSE_ALARMS))


def as_predict_does(model, parts):
    """Whether `predict` flags images, and its score, without a second pass."""
    ranges, flagged, scores = model.weights_info["image_statistics"], [], []
    for part in parts:
        pixels, embedding = part.pixels.float(), part.embedding.float()
        notes, score = model.domain.judge(list(pixels), list(embedding))
        for row, note in zip(pixels, notes, strict=True):
            # The statistics with ranges come first in the description.
            found = dict(zip(ranges, row[: len(ranges), None], strict=True))
            flagged.append(bool(note or statistics_out_of_range(found, ranges)))
        scores.append(score.double())
    return torch.tensor(flagged).double(), torch.cat(scores)


def measure(name, n, known_images, real):
    """Rates and AUC by set and score."""
    model = lensequiv.from_pretrained(name)
    recipe = get_recipe(model.weights_info["trained_on"]["recipe"])
    known = simulate(recipe, known_images, seed=SEED)
    features = Features(model, known.images)
    scores = {k: fitted(v, features, known.labels) for k, v in CANDIDATES.items()}
    makers = {
        "same recipe": lambda r, n, seed: simulate(r, 4 * n, seed=seed).images,
        **sets(recipe),
    }
    if real:
        makers["real images"] = None
    reference, table = {}, {}
    for i, (kind, make) in enumerate(tqdm(makers.items(), desc=name)):
        if make is None:
            groups = [torch.from_numpy(read_image(p)) for p in find_images(real)]
        else:
            groups = [make(recipe, n, SEED + 10 * (i + 1))]
        parts = [Features(model, images) for images in groups]
        values = {
            k: torch.cat([score(f) for f in parts]) for k, (score, _) in scores.items()
        }
        limits = {k: threshold for k, (_, threshold) in scores.items()}
        flagged, values["stored"] = as_predict_does(model, parts)
        limits["stored"] = model.domain.threshold
        if kind == "same recipe":
            reference = values
        table[kind] = {"images": len(flagged), "flagged": float(flagged.mean())}
        for k, value in values.items():
            truth = [0] * len(reference[k]) + [1] * len(value)
            both = torch.cat([reference[k], value]).clamp(-1e12, 1e12)
            table[kind][k] = {
                "rate": float((value > limits[k]).double().mean()),
                "auc": float(roc_auc_score(truth, both)),
            }
    return table


def show(name, table):
    """Markdown."""
    columns = [c for c in table["same recipe"] if c not in ("images", "flagged")]
    print(f"\n{name}\n\n| set | " + " | ".join(columns) + " | flagged |")
    print("|---" * (len(columns) + 2) + "|")
    for kind, row in table.items():
        cells = []
        for c in columns:
            rate = 100 * row[c]["rate"]
            auc = f" {row[c]['auc']:.2f}"
            same = kind == "same recipe"
            cells.append(f"{rate:.1f}" if same else f"{rate:.0f}{auc}")
        print(f"| {kind} | " + " | ".join(cells) + f" | {100 * row['flagged']:.3g} |")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="*", default=lensequiv.list_pretrained())
    parser.add_argument("--images", type=int, default=300, help="a set")
    parser.add_argument("--known", type=int, default=3000, help="to fit to")
    parser.add_argument("--quick", action="store_true", help="few images")
    parser.add_argument("--real", type=Path, help="folder with real images")
    parser.add_argument("--json", type=check_output, help="write the figures here")
    args = parser.parse_args()
    n, known = (30, 600) if args.quick else (args.images, args.known)
    warnings.simplefilter("ignore", lensequiv.domain.OutOfDomainWarning)
    tables = {name: measure(name, n, known, args.real) for name in args.weights}
    for name, table in tables.items():
        show(name, table)
    if args.json:
        args.json.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
