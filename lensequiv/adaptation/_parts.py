"""How often each class occurs among images without labels."""

from __future__ import annotations

from torch import Tensor

__all__ = ["class_parts", "distance_from_equal"]

_ROUNDS = 1000  # at most, of expectation and maximisation
_CHANGE = 1e-6  # of a part, below which the rounds end


def class_parts(probabilities: Tensor) -> Tensor:
    """The most likely parts of the classes, from calibrated answers to the images.

    Expectation and maximisation after Saerens, Latinne and Decaestecker (2002,
    doi:10.1162/089976602753284446): an answer p becomes p q over its sum, for parts q,
    and the parts become the mean of these. It takes for granted that the network was
    trained and calibrated on classes in equal parts, and that images of a class look
    like its training images; where they do not, the result is biased as the answers
    are (Garg et al., arXiv:2003.07554).

    Args:
        probabilities: (N, classes).

    Returns:
        (classes,) float64, which sum to 1.
    """
    p = probabilities.double().clamp_min(1e-12)
    parts = p.new_full((p.shape[1],), 1 / p.shape[1])
    for _ in range(_ROUNDS):
        before = parts
        weighted = p * parts
        parts = (weighted / weighted.sum(1, keepdim=True)).mean(0)
        if float((parts - before).abs().max()) < _CHANGE:
            break
    return parts


def distance_from_equal(parts: Tensor) -> float:
    """Total variation between class parts and equal ones.

    The share of the images that would have to change their class for equal parts.

    Args:
        parts: (classes,), which sum to 1.

    Returns:
        From 0 to 1 - 1 / classes.
    """
    return float((parts - 1 / len(parts)).clamp_min(0).sum())
