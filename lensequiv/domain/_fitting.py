"""Fits a temperature and a domain to what a network says of validation images."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lensequiv.domain._gaussians import Domain, Gaussians

__all__ = ["fit_domain", "fit_gaussians", "fit_temperature"]

# Added to the variances, which are 1 on average: keeps directions without any spread
# from deciding by rounding errors.
_SHRINKAGE = 1e-4
_FOLDS = 5
# Share of the images that lie farther from what is unlike than the means are moved.
_BEYOND = 0.001


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that makes probabilities as likely as they can be.

    Temperature scaling after Guo et al., arXiv:1706.04599. The negative log-likelihood
    of softmax(logits / T) is convex in 1 / T, so its slope has one zero, found by
    bisection.

    Args:
        logits: (N, classes) of images that were not trained on.
        labels: (N,) int64.

    Returns:
        From 0.05 to 20: the nearer end where the zero lies beyond, as with images that
        are all classified right.
    """
    logits, labels = logits.detach().cpu().double(), labels.cpu()
    right = logits.gather(1, labels[:, None]).squeeze(1)
    low, high = -math.log(20), math.log(20)  # of 1 / T
    for _ in range(50):
        middle = (low + high) / 2
        expected = ((logits * math.exp(middle)).softmax(1) * logits).sum(1)
        if float((expected - right).mean()) < 0:
            low = middle
        else:
            high = middle
    return math.exp(-middle)


def fit_gaussians(x: Tensor, labels: Tensor, classes: int) -> Gaussians:
    """Class means and their covariance; x is (N, D) float64."""
    center, scale = x.mean(0), x.std(0).clamp_min(1e-12)
    standard = (x - center) / scale
    members = F.one_hot(labels, classes).double()
    means = members.T @ standard / members.sum(0)[:, None]
    residual = standard - means[labels]
    values, vectors = torch.linalg.eigh(residual.T @ residual / len(x))
    whitening = vectors * torch.rsqrt(values + _SHRINKAGE)
    return Gaussians(
        center=center.float(),
        whitening=(whitening / scale[:, None]).float(),
        means=(means @ whitening).float(),
    )


def _stretched(gaussians: Gaussians, like: Tensor, unlike: Tensor) -> Gaussians:
    """Gaussians whose distance counts above all how much an embedding is like others.

    In whitened coordinates Fisher's discriminant is the direction that tells the two
    apart. It is stretched until it counts as much as all others together, and the
    means are moved against it to where hardly any embedding like the training ones
    lies beyond: only what lies towards the others becomes more distant.

    Args:
        gaussians: Fitted to `like`.
        like: (N, D) float64, embeddings like the training ones.
        unlike: (M, D) float64, the others.
    """
    whitening = gaussians.whitening.double()
    inside, outside = ((x - gaussians.center) @ whitening for x in (like, unlike))
    size = len(gaussians.center)
    spread = torch.eye(size, dtype=torch.float64) + torch.cov(outside.T)
    direction = torch.linalg.solve(spread, outside.mean(0) - inside.mean(0))
    direction = direction / direction.norm()
    stretch = torch.eye(size, dtype=torch.float64) + (
        (math.sqrt(size) - 1) * torch.outer(direction, direction)
    )
    means, farthest = gaussians.means.double(), (inside @ direction).quantile(_BEYOND)
    means += (farthest - means @ direction)[:, None] * direction
    return replace(
        gaussians,
        whitening=(whitening @ stretch).float(),
        means=(means @ stretch).float(),
    )


def fit_domain(
    pixels: Tensor,
    embeddings: Tensor,
    labels: Tensor,
    classes: int,
    *,
    false_alarms: float = 0.01,
    unlike: Tensor | None = None,
) -> Domain:
    """Fits Gaussians, and their reach on images they were not fitted on.

    Each of five parts of the images is scored by Gaussians fitted to the other four;
    the distances found so set the reach. Then all images are used.

    Args:
        pixels: (N, 16), see `lensequiv.domain.image_features`.
        embeddings: (N, D), of images that were not trained on.
        labels: (N,) int64.
        classes: How many there are.
        false_alarms: Share of such images that is to be flagged.
        unlike: (M, D) embeddings of what is to be flagged, if there are examples: the
            direction in which they differ then counts as much as all others together.

    Returns:
        The domain.

    Raises:
        ValueError: Too few images for the features, the classes or `false_alarms`, or
            embeddings in `unlike` of another size.
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms={false_alarms}: expected between 0 and 1")
    n = len(labels)
    needed = max(2 * embeddings.shape[1], 2 * pixels.shape[1], round(2 / false_alarms))
    if n < needed:
        raise ValueError(
            f"{n} images; expected at least {needed} for "
            f"{embeddings.shape[1]} features and false_alarms={false_alarms}"
        )
    counts = labels.bincount(minlength=classes)
    if len(counts) > classes or int(counts.min()) < _FOLDS:
        raise ValueError(
            f"{counts.tolist()} images of the classes; expected {classes} classes with "
            f"at least {_FOLDS} images each"
        )
    if unlike is not None:
        size = embeddings.shape[1]
        if unlike.ndim != 2 or unlike.shape[1] != size or len(unlike) < 2:
            raise ValueError(
                f"unlike is of shape {tuple(unlike.shape)}; expected at least 2 "
                f"embeddings of {size} features"
            )
        unlike = unlike.detach().cpu().double()
    parts = {"pixels": pixels, "embedding": embeddings}
    values = {k: v.detach().cpu().double() for k, v in parts.items()}
    labels = labels.cpu()
    # Class by class, so that every fold has its share of each.
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(n, generator=generator)
    order = order[labels[order].argsort(stable=True)]
    fold = torch.empty(n, dtype=torch.int64)
    fold[order] = torch.arange(n) % _FOLDS

    def fit(name: str, x: Tensor, labels: Tensor) -> Gaussians:
        fitted = fit_gaussians(x, labels, classes)
        if unlike is None or name != "embedding":
            return fitted
        return _stretched(fitted, x, unlike)

    distances = {k: torch.empty(n, dtype=torch.float64) for k in values}
    for i in range(_FOLDS):
        rest, held_out = fold != i, fold == i
        for name, x in values.items():
            part = fit(name, x[rest], labels[rest])
            distances[name][held_out] = part.distance(x[held_out])
    share = 1 - false_alarms
    reach = {name: d.quantile(share) for name, d in distances.items()}
    # Either distance alone exceeds its reach that often, so the larger one does more.
    both = torch.stack([distances[name] / reach[name] for name in values])
    factor = both.amax(0).quantile(share)
    fitted = {
        name: replace(fit(name, x, labels), reach=float(reach[name] * factor))
        for name, x in values.items()
    }
    return Domain(fitted["pixels"], fitted["embedding"], false_alarms)
