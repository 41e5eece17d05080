"""What a checkpoint of the 2021 study must hold, and what else it may turn out to be.

The study ran e2cnn 0.1.7, lensequiv runs 0.2.3. Between the two (their source
distributions were compared) nothing changed that a state dict depends on: the names of
parameters and buffers, the order and scaling of basis elements and so of weights, batch
norms and pooling. Representations and kernels are built from closed formulas, without
eigenvectors whose sign a library could choose. Two names differ from lensequiv's own:
the study wrapped `pool1` and `pool2` in a `SequentialModule`, and its last layer is
`fully_net.3`, here `head`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lensequiv.models import LensNetwork
from lensequiv.weights._format import WeightsError
from lensequiv.weights._tensors import check_tensors

__all__ = [
    "GROUPS",
    "check_filters",
    "check_fixed",
    "split_filters",
    "study_name",
    "study_tensors",
    "tell_apart",
]

GROUPS = ("c4", "c8", "d4", "d8")
FIXED_TOLERANCE = 1e-5
FILTER_TOLERANCE = 1e-3

_FILTER = re.compile(r"block\d\.\d\.filter")
_ORDER = re.compile(r"block1\.2\.batch_norm_\[(\d+)\]\.weight")
_BASIS = "block1.1._basisexpansion.block_expansion_('{}', 'regular').sampled_basis"
_KINDS = {_BASIS.format("irrep_0"): "c", _BASIS.format("irrep_0,0"): "d"}


def study_name(name: str) -> str:
    """The study's name for a tensor of ours."""
    name = re.sub(r"^head\.", "fully_net.3.", name)
    return re.sub(r"^(pool[12])\.", r"\1.0.", name)


def study_tensors(model: LensNetwork) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All tensors of a network by the study's names, expanded filters apart.

    Returns:
        Those that are learned (with batch-norm statistics), and those that follow from
        the architecture: bases, mask, pooling filters, channel indices.
    """
    learned = {study_name(name): value for name, value in model.tensors().items()}
    everything = itertools.chain(model.named_parameters(), model.named_buffers())
    fixed = {
        study_name(name): value.detach()
        for name, value in everything
        if study_name(name) not in learned and not _FILTER.fullmatch(name)
    }
    return learned, fixed


def split_filters(
    state: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Divides a state dict into expanded filters and everything else."""
    filters = {k: v for k, v in state.items() if _FILTER.fullmatch(k)}
    return filters, {k: v for k, v in state.items() if k not in filters}


def tell_apart(state: Mapping[str, Tensor], group: str, path: Path) -> None:
    """Refuses networks that are known, but are not the one that was asked for.

    C8 and D4 have weights of equal names and shapes: what tells them apart is the basis
    that e2cnn stores with them.

    Args:
        state: Tensors by the study's names.
        group: What the checkpoint is said to be.
        path: Named in messages.

    Raises:
        WeightsError: A ResNet, a 128-pixel network of 2023, another group, or something
            else altogether.
    """
    if {"conv1.weight", "layer1.0.conv1.weight", "fc.weight"} <= set(state):
        raise WeightsError(
            f"{path} is a ResNet with torchvision's names; expected the steerable "
            f"network singh2021-{group}"
        )
    mask, linear = state.get("block1.0.mask"), state.get("fully_net.0.weight")
    found = _group_of(state)
    if mask is None or linear is None or found is None:
        names = ", ".join(map(repr, itertools.islice(state, 3)))
        raise WeightsError(
            f"{path} is no network of the 2021 study: its {len(state)} tensors begin "
            f"with {names}; expected 'block1.0.mask' to 'fully_net.3.bias', with bases"
        )
    if tuple(mask.shape[2:]) == (128, 128) or tuple(linear.shape) == (64, 40000):
        raise WeightsError(
            f"{path} is the variant of the 2023 follow-up for 128 x 128 pixels (mask "
            f"{tuple(mask.shape)}, first linear layer {tuple(linear.shape)}; its group "
            f"is {found}, though its code calls it C8); expected the network of 2021 "
            "for 129 x 129, (1, 1, 129, 129) and (64, 43264)"
        )
    if found != group:
        known = "" if found in GROUPS else f", and the study had {', '.join(GROUPS)}"
        raise WeightsError(
            f"{path} is a network of group {found}, by its batch norms and basis; you "
            f"asked for {group}{known}"
        )


def _group_of(state: Mapping[str, Tensor]) -> str | None:
    orders = [int(m[1]) for name in state if (m := _ORDER.fullmatch(name))]
    kinds = [kind for name, kind in _KINDS.items() if name in state]
    if len(orders) != 1 or len(kinds) != 1:
        return None
    return f"c{orders[0]}" if kinds[0] == "c" else f"d{orders[0] // 2}"


def check_fixed(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> float:
    """Compares what follows from the architecture: integers exactly, the rest nearly.

    e2cnn computes bases in float64 and rounds them to float32, so 1e-5 of a tensor's
    largest value leaves room for other machines' rounding; any other basis, order or
    scaling is further off by many powers of ten.

    Returns:
        The largest difference, relative to the largest value of its tensor.

    Raises:
        WeightsError: Naming the first tensor that differs.
    """
    worst = 0.0
    for name, want in expected.items():
        difference = _difference(found[name], want)
        if not difference <= FIXED_TOLERANCE:  # nor NaN
            raise WeightsError(
                f"{path}: tensor {name!r} differs from the network's by "
                f"{difference:.1e} of its largest value; it follows from the "
                "architecture alone, so this is another network, another e2cnn or a "
                "damaged file"
            )
        worst = max(worst, difference)
    return worst


def check_filters(
    stored: Mapping[str, Tensor], model: LensNetwork, path: Path
) -> float:
    """Compares the expanded filters in a file with those its weights give.

    Filters were expanded where the network was trained. Measured on freshly initialised
    C4 and C8, relative to a layer's largest value: float32 rounds by up to 5e-7, TF32
    (10-bit factors on graphics cards, torch's default from 1.7 to 1.11) by up to 4e-4;
    a single step of Adam at the study's rate, 5e-5, changes the layers from block 3 on
    by 1.1e-3 to 2.1e-3. The limit, 1e-3, lies between rounding and another state.

    Args:
        stored: All of the file's filters.
        model: In evaluation mode, with the file's weights.
        path: Named in messages.

    Returns:
        The largest difference, relative to the largest value of its layer.

    Raises:
        WeightsError: Some filters are there and others not, or one differs.
    """
    from lensequiv._e2cnn import R2Conv

    expected = {
        f"{name}.filter": module.filter.detach()
        for name, module in model.named_modules()
        if _FILTER.fullmatch(f"{name}.filter") and isinstance(module, R2Conv)
    }
    check_tensors(stored, expected, path)
    worst = 0.0
    for name, want in expected.items():
        difference = _difference(stored[name], want)
        if not difference <= FILTER_TOLERANCE:
            raise WeightsError(
                f"{path}: the filter {name!r} differs from the one its weights give by "
                f"{difference:.1e} of its largest value (up to {FILTER_TOLERANCE:.0e} "
                "can be rounding): filter and weights are of different states, and "
                "which one was meant cannot be told"
            )
        worst = max(worst, difference)
    return worst


def _difference(found: Tensor, want: Tensor) -> float:
    if not want.is_floating_point():
        return float(not torch.equal(found, want))
    scale = float(want.abs().max())
    return float((found - want).abs().max()) / (scale or 1.0)
