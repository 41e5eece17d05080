"""The head that tells quantities: put on a network, taken off, asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.random import fork_rng

from lensequiv._neutral import neutral
from lensequiv.models._builders import build
from lensequiv.plain import QuantityHead
from lensequiv.spec import QuantitiesSpec, Quantity, Spec

if TYPE_CHECKING:
    from lensequiv.models._recorded import Recorded
    from lensequiv.models._telling import Telling

__all__ = ["attach_quantities", "embedding_size", "with_quantities"]


def attach_quantities(model: Recorded, spec: Spec) -> None:
    """Gives a network that was just built the head that a record describes, if any.

    Its tensors are about to be loaded, so the random state stays as it is.

    Args:
        model: Without such a head.
        spec: The record, which the network is going to take.
    """
    if spec.quantities is not None:
        with neutral(), fork_rng(devices=[]):
            head = QuantityHead(*spec.quantities.shape)
        first = next(model.parameters())
        model.quantity_head = head.to(first.device, first.dtype)


@torch.no_grad()
def embedding_size(model: Telling) -> int:
    """Length of the vectors that `LensNetwork.embed` returns."""
    training, size = model.training, model.input_size
    first = next(model.parameters())
    x = torch.zeros(1, model.in_channels, size, size, device=first.device)
    model.eval()
    try:
        return model.embed(x).shape[1]
    finally:
        model.train(training)


def with_quantities(
    model: Telling,
    quantities: Sequence[Quantity],
    *,
    hidden: int,
    components: int,
) -> Recorded:
    """See `LensNetwork.with_quantities`."""
    if model.recipe is None:
        raise TypeError(
            f"{type(model).__name__} is not registered, so it cannot be built with "
            "another head"
        )
    told = None
    if quantities:
        inputs = embedding_size(model)
        told = QuantitiesSpec(inputs, hidden, components, tuple(quantities))
    made = build(model.recipe, **model.config, initialize=False)
    first = next(model.parameters())
    made.to(first.device, first.dtype)
    kept = {
        name: value
        for name, value in model.tensors().items()
        if not name.startswith("quantity_head.")
    }
    made.load_tensors(kept)
    if told is not None:
        with neutral():
            made.quantity_head = QuantityHead(*told.shape).to(first.device, first.dtype)
    made.spec = replace(model.spec, options=made.spec.options, quantities=told)
    made.origin = model.origin
    return made.eval()
