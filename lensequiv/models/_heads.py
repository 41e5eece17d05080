"""The heads that a network has besides that of the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.random import fork_rng

from lensequiv._neutral import neutral
from lensequiv.plain import QuantityHead
from lensequiv.spec import Spec

if TYPE_CHECKING:
    from lensequiv.models._attributes import RecordAttributes

__all__ = ["attach_heads"]


def attach_heads(model: RecordAttributes, spec: Spec) -> None:
    """Gives a network that was just built the further heads that a record describes.

    All but the head that maps substructure, which is an option of the architecture.
    Their tensors are about to be loaded, so the random state stays as it is.

    Args:
        model: Without such heads.
        spec: The record, which the network is going to take.
    """
    first = next(model.parameters())
    with neutral(), fork_rng(devices=[]):
        if spec.quantities is not None:
            head = QuantityHead(*spec.quantities.shape)
            model.quantity_head = head.to(first.device, first.dtype)
