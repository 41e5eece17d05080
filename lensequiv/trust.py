"""How far to believe a prediction: calibrated probabilities, and a score for oddity.

`calibrate` fits both to validation images and sets them on the model, which stores
them with its weights. What they notice and what they miss: `docs/trust.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lensequiv.domain import describe

if TYPE_CHECKING:
    from lensequiv.models import LensModel

__all__ = ["Domain", "Gaussians", "calibrate", "fit_domain", "fit_temperature"]

_KIND = "mahalanobis"
# Added to the variances, which are 1 on average: keeps directions without any spread
# from deciding by rounding errors.
_SHRINKAGE = 1e-4
_FOLDS = 5


@dataclass(frozen=True)
class Gaussians:
    """A Gaussian for each class, with one covariance.

    Attributes:
        center: (D,) float32, subtracted first.
        whitening: (D, D) float32, then multiplied with: the covariance becomes the
            unit matrix.
        means: (classes, D) float32, of the classes in these coordinates.
        reach: The distance that counts as 1.
    """

    center: Tensor
    whitening: Tensor
    means: Tensor
    reach: float = 1.0

    def distance(self, x: Tensor) -> Tensor:
        """Mahalanobis distance from the nearest mean, in units of `reach`.

        Args:
            x: (N, D) on the CPU.

        Returns:
            (N,) float64; infinite where a value is not finite.

        Raises:
            ValueError: D differs.
        """
        if x.shape[1] != len(self.center):
            raise ValueError(
                f"the domain describes {len(self.center)} features, not {x.shape[1]}: "
                "it belongs to another model"
            )
        # In double precision: the whitening enlarges rounding errors.
        z = (x.double() - self.center) @ self.whitening.double()
        offset = z[:, None] - self.means
        distance = offset.square().sum(2).sqrt().amin(1) / self.reach
        return distance.nan_to_num(nan=math.inf, posinf=math.inf)


_PARTS = {"pixels": "its pixels", "embedding": "the network's embedding"}
_TENSORS = ("center", "whitening", "means")


@dataclass(frozen=True)
class Domain:
    """Where the training images lie.

    The score of an image is the larger one of two Mahalanobis distances from the
    nearest class (Lee et al., arXiv:1807.03888), each in units of the distance that
    the share `false_alarms` of images like the training ones exceeds: of its
    statistics (`lensequiv.domain.describe`), which do not depend on the network, and
    of the network's embedding.

    Attributes:
        pixels: Of the statistics.
        embedding: Of the embedding.
        false_alarms: The share of images like the training ones with a score above 1.
        threshold: Images with a larger score are flagged. To choose another one:
            `model.domain = dataclasses.replace(model.domain, threshold=1.2)`.
    """

    pixels: Gaussians
    embedding: Gaussians
    false_alarms: float
    threshold: float = 1.0

    def judge(
        self, pixels: Sequence[Tensor], embeddings: Sequence[Tensor]
    ) -> tuple[list[list[str]], Tensor]:
        """Scores images.

        Args:
            pixels: A row of `lensequiv.domain.describe` for each image, on the CPU.
            embeddings: The embedding of each, on the CPU.

        Returns:
            For each image a list with what to say about it, empty if it is not
            flagged, and (N,) float32 scores.

        Raises:
            ValueError: The embedding is one of another network.
        """
        if not pixels:
            return [], torch.empty(0)
        distances = torch.stack(
            [
                self.pixels.distance(torch.stack(list(pixels))),
                self.embedding.distance(torch.stack(list(embeddings))),
            ],
            1,
        )
        scores, which = distances.max(1)
        names = list(_PARTS.values())
        notes = [
            []
            if score <= self.threshold
            else [
                f"score {score:.3g} (training 0 to {self.threshold:.3g}) by {names[i]}"
            ]
            for score, i in zip(scores.tolist(), which.tolist(), strict=True)
        ]
        return notes, scores.float()

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, as they are stored."""
        return {
            f"{part}.{name}": getattr(getattr(self, part), name).contiguous()
            for part in _PARTS
            for name in _TENSORS
        }

    def to_config(self) -> dict[str, Any]:
        """Everything but the tensors, JSON-able."""
        return {
            "kind": _KIND,
            "reach": {part: getattr(self, part).reach for part in _PARTS},
            "false_alarms": self.false_alarms,
            "threshold": self.threshold,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> Domain:
        """Inverse of `to_config` and `tensors`.

        Raises:
            ValueError: A key or tensor is missing, unknown, or has a value, shape or
                dtype that cannot be; the message names it.
        """
        _check_keys(config, ("kind", "reach", "false_alarms", "threshold"), "key")
        if config["kind"] != _KIND:
            raise ValueError(f"'kind' is {config['kind']!r}; expected {_KIND!r}")
        if not isinstance(config["reach"], dict):
            raise ValueError(f"'reach' is {config['reach']!r}; expected an object")
        _check_keys(config["reach"], tuple(_PARTS), "key of 'reach'")
        numbers = {**config, **config["reach"]}
        for key in ("false_alarms", "threshold", *_PARTS):
            value = numbers[key]
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise ValueError(f"{key!r} is {value!r}; expected a positive number")
        names = [f"{part}.{name}" for part in _PARTS for name in _TENSORS]
        _check_keys(tensors, names, "tensor")
        parts = {}
        for part in _PARTS:
            found = {name: tensors[f"{part}.{name}"] for name in _TENSORS}
            size, classes = found["center"].numel(), len(found["means"])
            shapes = ((size,), (size, size), (classes, size))
            for (name, tensor), shape in zip(found.items(), shapes, strict=True):
                have = f"{tuple(tensor.shape)} {tensor.dtype}"
                want = f"{shape} {torch.float32}"
                if have != want:
                    raise ValueError(
                        f"tensor '{part}.{name}' is {have}; expected {want}"
                    )
            parts[part] = Gaussians(**found, reach=float(config["reach"][part]))
        return cls(
            pixels=parts["pixels"],
            embedding=parts["embedding"],
            false_alarms=float(config["false_alarms"]),
            threshold=float(config["threshold"]),
        )


def _check_keys(found: Mapping[str, Any], expected: Sequence[str], kind: str) -> None:
    if missing := sorted(set(expected) - set(found)):
        raise ValueError(f"{kind} {missing[0]!r} is missing")
    if unknown := sorted(set(found) - set(expected)):
        raise ValueError(f"{kind} {unknown[0]!r} is unknown")


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


def _fit(x: Tensor, labels: Tensor, classes: int) -> Gaussians:
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


def fit_domain(
    pixels: Tensor,
    embeddings: Tensor,
    labels: Tensor,
    classes: int,
    *,
    false_alarms: float = 0.01,
) -> Domain:
    """Fits Gaussians, and their reach on images they were not fitted on.

    Each of five parts of the images is scored by Gaussians fitted to the other four;
    the distances found so set the reach. Then all images are used.

    Args:
        pixels: (N, 16), see `lensequiv.domain.describe`.
        embeddings: (N, D), of images that were not trained on.
        labels: (N,) int64.
        classes: How many there are.
        false_alarms: Share of such images that is to be flagged.

    Returns:
        The domain.

    Raises:
        ValueError: Too few images for the features, the classes or `false_alarms`.
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
    parts = {"pixels": pixels, "embedding": embeddings}
    values = {k: v.detach().cpu().double() for k, v in parts.items()}
    labels = labels.cpu()
    # Class by class, so that every fold has its share of each.
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(n, generator=generator)
    order = order[labels[order].argsort(stable=True)]
    fold = torch.empty(n, dtype=torch.int64)
    fold[order] = torch.arange(n) % _FOLDS
    distances = {k: torch.empty(n, dtype=torch.float64) for k in values}
    for i in range(_FOLDS):
        rest, held_out = fold != i, fold == i
        for name, x in values.items():
            part = _fit(x[rest], labels[rest], classes)
            distances[name][held_out] = part.distance(x[held_out])
    share = 1 - false_alarms
    reach = {name: d.quantile(share) for name, d in distances.items()}
    # Either distance alone exceeds its reach that often, so the larger one does more.
    both = torch.stack([distances[name] / reach[name] for name in values])
    factor = both.amax(0).quantile(share)
    fitted = {
        name: replace(_fit(x, labels, classes), reach=float(reach[name] * factor))
        for name, x in values.items()
    }
    return Domain(fitted["pixels"], fitted["embedding"], false_alarms)


@torch.no_grad()
def calibrate(
    model: LensModel,
    images: Tensor,
    labels: Tensor,
    *,
    false_alarms: float = 0.01,
    batch_size: int = 64,
    progress: bool = False,
) -> None:
    """Sets a model's `temperature` and `domain` from validation images.

    Call it again whenever the weights have changed. `save_pretrained` stores both.

    Args:
        model: Any model; its mode is kept.
        images: (N, C, H, W) in any flux unit and of one size, not trained on.
        labels: (N,) int64, index into `model.classes`.
        false_alarms: Share of images like these that is to be flagged.
        batch_size: Images that go through the network at once.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: An image cannot be used, or see `fit_domain`.
    """
    from tqdm.auto import tqdm

    training, device = model.training, next(model.parameters()).device
    pixels, embeddings, logits = [], [], []
    try:
        model.eval()
        batches = images.split(batch_size)
        for batch in tqdm(batches, desc="calibrating", disable=not progress):
            x = model.preprocess(batch.float())
            pixels.append(describe(x).cpu())
            embedding = model.embed(x.to(device))
            embeddings.append(embedding.float().cpu())
            logits.append(model.head(embedding).float().cpu())
    finally:
        model.train(training)
    model.domain = fit_domain(
        torch.cat(pixels),
        torch.cat(embeddings),
        labels,
        model.num_classes,
        false_alarms=false_alarms,
    )
    model.temperature = fit_temperature(torch.cat(logits), labels)
