"""A loss that compares images of one lens with the substructure of each class.

Lenses differ far more among themselves than by their substructure. Where they are as
different as real ones, a network that is only asked for the class of each image learns
nothing. Of the images of one lens (`LensStream(matched=True)`) the loss below asks
which is which: whatever they have in common cancels. That is the conditional likelihood
of matched case-control studies (Breslow & Day 1980, chapter 7), for pairs of images.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def matched_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """How surely pairs of images of one lens are told apart.

    Args:
        logits: (N, classes), those of one lens next to each other.
        labels: (N,) int64; each lens has every class once. Negative for what is no
            lens, which does not count.

    Returns:
        Mean over all pairs of -log of the probability that the network gives to their
        classes as they are, and not the other way round, in units of log 2: 1 for
        chance, 0 for certainty.
    """
    classes = logits.shape[1]
    order = labels.view(-1, classes).argsort(1)
    # Of each lens, [i, j]: logit of class j for the image of class i.
    sets = logits.view(-1, classes, classes)
    sets = sets.gather(1, order[..., None].expand_as(sets))
    own = sets.diagonal(dim1=1, dim2=2)
    gain = own[:, :, None] + own[:, None, :] - sets - sets.mT
    first, second = torch.triu_indices(classes, classes, 1, device=logits.device)
    loss = F.softplus(-gain[:, first, second]).mean(1) / math.log(2)
    lens = (labels.view(-1, classes)[:, 0] >= 0).to(loss)
    return (loss * lens).sum() / lens.sum().clamp_min(1)
