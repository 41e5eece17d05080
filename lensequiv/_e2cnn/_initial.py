"""How large steerable weights are drawn."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

__all__ = ["he_init_std"]


def he_init_std(expansion: Any) -> Tensor:
    """Standard deviations of e2cnn's generalised He initialisation, vectorised.

    e2cnn's own form walks over every weight in Python; `benchmarks/layers.py` compares.
    Here the sums run over pairs of representations: all fields of one representation
    share their values.

    Args:
        expansion: The `basisexpansion` of an `R2Conv`.

    Returns:
        (weights,) float tensor, in the order of the weights.
    """
    inputs: dict[str, int] = defaultdict(int)
    for representation in expansion._in_type.representations:
        inputs[representation.name] += 1
    outputs: dict[str, int] = defaultdict(int)
    for representation in expansion._out_type.representations:
        outputs[representation.name] += 1

    # Per output irrep: elements that feed it, by the input irrep they come from.
    counts: dict[tuple[str, int], dict[str, int]] = defaultdict(
        lambda: defaultdict(int)
    )
    blocks = {}
    for pair in expansion._representations_pairs:
        attributes = list(getattr(expansion, f"block_expansion_{pair}").attributes)
        blocks[pair] = attributes
        for a in attributes:
            key = (pair[1], a["out_irrep_idx"])
            counts[key][a["in_irrep"]] += inputs[pair[0]]

    parts = []
    for pair, attributes in blocks.items():
        one = []
        for a in attributes:
            feeding = counts[(pair[1], a["out_irrep_idx"])]
            one.append(1 / math.sqrt(len(feeding) * feeding[a["in_irrep"]]))
        parts.append(torch.tensor(one).repeat(inputs[pair[0]] * outputs[pair[1]]))
    return torch.cat(parts)
