"""The map of the substructure: what an image's light, fields and numbers become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._convolutions import ACTIVATIONS

FAINT = 0.07  # of the peak: light that a pixel needs to count
# Convergence below which the network's scale is linear, above logarithmic.
KNEE = 0.005
_HIGHEST = 8.0  # of its logarithm: a convergence of 15


class Heads(NamedTuple):
    """What all heads of a network say, and the embedding.

    Attributes:
        logits: (N, classes).
        embedding: (N, D): what the logits are made of.
        map: (N, 4, h, w), see `map_quantities`; None if the network draws none.
    """

    logits: Tensor
    embedding: Tensor
    map: Tensor | None


def light_at(x: Tensor, stride: int) -> Tensor:
    """How much light there is to see substructure by, from 0 to 1.

    Args:
        x: (N, C, H, W) images of sky 0 and peak 1.
        stride: Every how many pixels it is wanted.

    Returns:
        (N, C, h, w): light / (light + 0.07) of the mean over 5 x 5 pixels.
    """
    light = F.avg_pool2d(x, 5, stride, 2).clamp_min(0)
    return light / (light + FAINT)


def enlarged(x: Tensor, height: int, width: int) -> Tensor:
    """A map on a finer grid with the same corners, bilinear."""
    if x.shape[2:] == (height, width):
        return x
    size = (height, width)
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def map_quantities(raw: Tensor) -> Tensor:
    """What the last layer's numbers say.

    Args:
        raw: (N, 4, h, w): with y = log(1 + kappa / KNEE), the median of y, the
            logarithms of how far below and above it the quantiles lie, and the
            logit of the presence.

    Returns:
        (N, 4, h, w): the median of the convergence kappa, its 16 % and 84 % quantiles,
        and the probability of presence.
    """
    raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
    middle, below, above, presence = raw.unbind(1)
    y = torch.stack([middle, middle - below.exp(), middle + above.exp()], 1)
    kappa = KNEE * torch.expm1(torch.relu(y).clamp_max(_HIGHEST))
    return torch.cat([kappa, presence.sigmoid()[:, None]], 1)


class Light(nn.Module):
    """`light_at`."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """See the function."""
        return light_at(x, self.stride)


class Activation(nn.Module):
    """A function of each value by itself: `"relu"` or `"gelu"`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        """Maps any shape to the same."""
        return self.function(x)


class PlainMap(nn.Module):
    """The head that draws the map: branches that are added up, then layers.

    Args:
        taps: How many layers of the body lead to what each branch takes; 0 stands for
            the image. The result of the first branch decides the size of the map.
        branches: As many.
        layers: After their sum.
    """

    def __init__(
        self, taps: Sequence[int], branches: Sequence[nn.Module], layers: nn.Module
    ) -> None:
        super().__init__()
        self.taps = list(taps)
        self.branches = nn.ModuleList(branches)
        self.layers = layers

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """The map, (N, 4, h, w), of what the taps gave; see `map_quantities`."""
        first, *others = self.branches
        y: Tensor = first(inputs[0])
        height, width = y.shape[2:]
        for branch, x in zip(others, inputs[1:], strict=True):
            y = y + enlarged(branch(x), height, width)
        return map_quantities(self.layers(y))


class AllHeads(nn.Module):
    """A plain model for export that returns what all of its heads say.

    Args:
        plain: Whose config has a map, quantities, or both.
    """

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain: Any = plain

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, classes), map (N, 4, h, w) and quantities (N, Q, 5).

        Of preprocessed images; what the network does not have is left out.
        """
        logits, embedding, drawn = self.plain.heads(x)
        found = [logits] if drawn is None else [logits, drawn]
        if "quantities" in self.plain.config:
            found.append(self.plain.quantiles(embedding))
        return tuple(found)
