"""A network with its record, as far as saving and classifying need to know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from lensequiv.domain import Domain
from lensequiv.spec._origin import Origin
from lensequiv.spec._spec import Spec
from lensequiv.transforms import Preprocessing

__all__ = ["Network"]


class Network(Protocol):
    """A network that carries its record; `lensequiv.models.LensNetwork` is one.

    What reads and writes weights works on anything of this kind, and so knows no
    architecture. Attributes other than `origin` say what the record says.
    """

    num_classes: int
    temperature: float
    domain: Domain | None

    @property
    def spec(self) -> Spec:
        """Everything that the network is besides its tensors."""

    @property
    def origin(self) -> Origin | None:
        """Where the weights were loaded from, or None."""

    @property
    def name(self) -> str:
        """Name of the architecture."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""

    @property
    def preprocess(self) -> Preprocessing:
        """Turns images in any flux unit into the network's input."""

    @property
    def pixel_scale(self) -> float | None:
        """Of the training images; None if unknown. *Unit*: arcsec/pixel."""

    @property
    def weights_info(self) -> Mapping[str, Any]:
        """What is known about the weights, JSON-able."""

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the network by name."""

    def check_rebuildable(self) -> None:
        """Requires that the record alone builds a network for these tensors.

        Raises:
            ValueError: It does not; the message says why.
        """
