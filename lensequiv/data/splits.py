"""Parts of a data set, and its description in a line."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Positions: TypeAlias = (
    int | slice | Sequence[int] | Sequence[bool] | np.ndarray | Tensor
)
"""What `take` accepts."""

_CLASSES_SHOWN = 10


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


def position(index: Any) -> int:
    """The position of one image, for `__getitem__`.

    Args:
        index: A whole number, also one of NumPy or torch.

    Returns:
        The number.

    Raises:
        TypeError: It is something else: a slice, for instance.
    """
    try:
        return operator.index(index)
    except TypeError:
        raise TypeError(
            f"index {index!r:.80}: expected the position of one image; take() makes a"
            " set of several"
        ) from None


def positions_of(which: Positions, labels: Tensor) -> Tensor:
    """Find the images that `take` is asked for.

    Args:
        which: How many, the first ones of each class in equal parts; or which ones: a
            slice, a list, array or tensor of whole numbers from 0 to N - 1, or one of
            N booleans.
        labels: Of the images, (N,) int64.

    Returns:
        Positions in ascending order, (M,) int64.

    Raises:
        IndexError: A position is not one of the set's.
        TypeError: `which` is something else.
        ValueError: There are fewer images than asked for, no image is chosen, or
            there are more or fewer booleans than images.
    """
    n = len(labels)
    if isinstance(which, slice):
        chosen = torch.arange(n)[which]
    elif not isinstance(which, bool) and isinstance(which, int | np.integer):
        if not 1 <= which <= n:
            raise ValueError(f"take({which}): expected a number from 1 to {n} images")
        chosen = _first_of_each(labels, int(which))
    else:
        chosen = _as_positions(which, n)
    if len(chosen) == 0:
        raise ValueError("take() is given no position; expected at least one")
    low, high = int(chosen.min()), int(chosen.max())
    if low < 0 or high >= n:
        raise IndexError(
            f"take() is given the position {low if low < 0 else high}; expected numbers"
            f" from 0 to {n - 1}"
        )
    return chosen.sort().values


def _as_positions(
    which: bool | Sequence[int] | Sequence[bool] | np.ndarray | Tensor, n: int
) -> Tensor:
    """Turn whole numbers, or a boolean for each image, into positions."""
    is_array = isinstance(which, Tensor | np.ndarray | Sequence)
    found = np.asarray(which.cpu() if isinstance(which, Tensor) else which)
    if (
        not is_array
        or found.ndim != 1
        or (found.size and found.dtype.kind not in "iub")
    ):
        what = f"{type(which).__name__} of shape {found.shape} and type {found.dtype}"
        raise TypeError(
            f"take() is given a {what}; expected a number of images, whole numbers in"
            " one dimension, or a boolean for each image"
        )
    if found.dtype.kind == "b":
        if len(found) != n:
            raise ValueError(
                f"take() is given {len(found)} booleans; expected one for each of the"
                f" {n} images"
            )
        found = np.flatnonzero(found)
    return torch.from_numpy(found.astype(np.int64))


def _first_of_each(labels: Tensor, count: int) -> Tensor:
    """Positions of the first images of each class, in equal parts while they last."""
    place = torch.empty_like(labels)  # within the class
    for label in labels.unique():
        members = torch.nonzero(labels == label).flatten()
        place[members] = torch.arange(len(members))
    return torch.argsort(place, stable=True)[:count]


def class_counts(labels: Tensor, classes: Sequence[str]) -> str:
    """Describe a set for its repr: '30 images of 2 classes: no 10, sphere 20'."""
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    named = zip(classes[:_CLASSES_SHOWN], counts, strict=False)
    more = len(classes) - _CLASSES_SHOWN
    return (
        f"{len(labels)} image{'' if len(labels) == 1 else 's'} of {len(classes)} "
        f"class{'' if len(classes) == 1 else 'es'}: "
        + ", ".join(f"{name} {count}" for name, count in named)
        + (f", and {more} more" if more > 0 else "")
    )
