"""The head that tells quantities: put on a network, taken off, asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch.random import fork_rng

from lensequiv._neutral import neutral
from lensequiv.models._builders import build
from lensequiv.plain import QuantityHead
from lensequiv.spec import QuantitiesSpec, Quantity, Spec

if TYPE_CHECKING:
    from lensequiv.models._recorded import Recorded

__all__ = ["attach_quantities", "with_quantities"]


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


def with_quantities(
    model: Recorded,
    quantities: Sequence[Quantity],
    inputs: int,
    hidden: int,
    components: int,
) -> Recorded:
    """See `LensNetwork.with_quantities`.

    Args:
        model: Any.
        quantities: Of the new head.
        inputs: Length of the embedding.
        hidden: Width of the head.
        components: Gaussians.
    """
    if model.recipe is None:
        raise TypeError(
            f"{type(model).__name__} is not registered, so it cannot be built with "
            "another head"
        )
    told = None
    if quantities:
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
