"""Random division of a data set into parts with the same mixture of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


def stratified(
    labels: Tensor, classes: Sequence[str], fractions: Sequence[float], seed: int
) -> list[Tensor]:
    """Divide the positions of a data set at random, class by class.

    Args:
        labels: Index into `classes` of each image, (N,) int64.
        classes: Names of the classes.
        fractions: Share of each part; they add up to 1.
        seed: Not negative; the same seed gives the same parts.

    Returns:
        Positions of each part in ascending order, int64; together they are all
        positions, each once.

    Raises:
        ValueError: The fractions are not positive or do not add up to 1, or a part
            would have no image of a class that is there.
    """
    valid = len(fractions) > 0 and min(fractions) > 0
    if not valid or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ValueError(
            f"fractions is {list(fractions)}; expected positive numbers that add up to"
            " 1"
        )
    parts: list[list[Tensor]] = [[] for _ in fractions]
    ends = np.cumsum(fractions)
    for label, name in enumerate(classes):
        positions = torch.nonzero(labels == label).flatten()
        if len(positions) == 0:  # parts of parts
            continue
        # Each class has its own stream: adding a class leaves the others as they are.
        order = np.random.default_rng([seed, label]).permutation(len(positions))
        edges = [0, *(round(float(end) * len(positions)) for end in ends)]
        for part, (low, high) in zip(parts, pairwise(edges), strict=True):
            if low == high:
                raise ValueError(
                    f"fractions {list(fractions)} leave a part without any of the"
                    f" {len(positions)} images of class {name!r}; expected larger ones"
                )
            part.append(positions[torch.from_numpy(order[low:high])])
    return [torch.cat(part).sort().values for part in parts]
