"""The linear check: do a weight's features say anything about new classes?"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from lensequiv.models import LensNetwork


@torch.no_grad()
def embeddings(model: LensNetwork, images: Tensor, title: str = "") -> Tensor:
    """Embeddings (N, D) of raw images (N, C, H, W), in evaluation mode, on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    bar = tqdm(total=len(images), desc=title, unit="img", delay=2)
    parts = []
    for batch in images.split(64):
        parts.append(model.embed(model.preprocess(batch.float()).to(device)).cpu())
        bar.update(len(batch))
    bar.close()
    return torch.cat(parts)


def linear_check(
    model: LensNetwork, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor]
) -> float:
    """Validation accuracy of logistic regression on the embedding."""
    x = embeddings(model, train[0], "linear check, training images")
    held_out = embeddings(model, val[0], "linear check, validation images")
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, held_out = (x - mean) / std, (held_out - mean) / std
    weight = torch.zeros(x.shape[1], model.num_classes, requires_grad=True)
    bias = torch.zeros(model.num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, train[1])
        loss = loss + weight.square().sum() / len(x)
        loss.backward()
        return loss

    optimizer.step(closure)
    guess = (held_out @ weight + bias).argmax(1)
    return float((guess == val[1]).float().mean())


def chance_level(labels: Tensor) -> tuple[float, float]:
    """Accuracy of the commonest class, and what luck alone seldom exceeds.

    Args:
        labels: (N,) int64, of the validation images.

    Returns:
        The share of the commonest class, and that share plus two standard errors.
    """
    share = float(labels.bincount().max()) / len(labels)
    return share, share + 2 * math.sqrt(share * (1 - share) / len(labels))


def linear_verdict(check: float, labels: Tensor) -> str:
    """What the linear check says, for people.

    Args:
        check: What `linear_check` found.
        labels: (N,) int64, of the validation images.
    """
    chance, luck = chance_level(labels)
    told = (
        f"linear check: {check:.3f} of the validation images right; by chance: "
        f"{chance:.3f}"
    )
    if check <= luck:
        told += (
            f". Not above {luck:.3f}, that is no better than luck: the trained "
            "features say nothing about these classes. Check pixel scale, cropping "
            "and labels"
        )
    return told
