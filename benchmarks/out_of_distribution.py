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
from pathlib import Path

import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from tqdm.auto import tqdm
from unlike_images import sets

import lensequiv
from lensequiv.data import find_images, read_image
from lensequiv.domain import image_features, statistics_out_of_range
from lensequiv.domain._fitting import fit_gaussians
from lensequiv.files import check_output
from lensequiv.simulation import (
    get_recipe,
    simulate,
)

SEED = 7000  # and the next: no data set of the project uses them
FALSE_ALARMS = 0.01


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
