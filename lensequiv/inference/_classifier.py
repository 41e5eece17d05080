"""What `predict` and `calibrate` need of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lensequiv.plain import Heads, PlainModel
from lensequiv.spec import Network

__all__ = ["Classifier"]


class Classifier(Network, Protocol):
    """A network that tells classes apart; `lensequiv.models.LensNetwork` is one."""

    in_channels: int
    training: bool

    def __call__(self, x: Tensor) -> Any:
        """Logits (N, num_classes) of preprocessed images."""

    def to(self, device: torch.device) -> Any:
        """The network itself, moved to a device."""

    def check_input(self, x: Tensor) -> None:
        """Requires a batch of preprocessed images, (N, in_channels, H, W).

        Raises:
            TypeError: `x` is no floating-point tensor.
            ValueError: Its shape is none that the network takes.
        """

    def logits_and_embedding(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, num_classes), and the vectors (N, D) that they are made of."""

    def heads(self, x: Tensor) -> Heads:
        """What all heads say of preprocessed images, in one pass."""

    def check_map(self) -> None:
        """Requires a head that maps the substructure, and was trained.

        Raises:
            ValueError: There is none.
        """

    def check_quantities(self) -> None:
        """Requires a head that tells quantities.

        Raises:
            ValueError: There is none.
        """

    def quantiles(self, embedding: Tensor) -> Tensor:
        """Quantities (N, Q, 5) of embeddings (N, D), as the record describes them."""

    def to_torch(self) -> PlainModel:
        """The network in evaluation mode as ordinary torch modules.

        Raises:
            NotImplementedError: The architecture has no plain form.
        """

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """All layers, by name."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that is learned, on the network's device."""

    def train(self, mode: bool = True) -> Any:
        """Sets the mode."""

    def eval(self) -> Any:
        """Sets the evaluation mode, and returns the network."""
