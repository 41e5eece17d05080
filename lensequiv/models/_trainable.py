"""What training asks of a network besides gradients: a frozen body, less memory."""

from __future__ import annotations

from typing import Self, TypeVar

import torch
from torch import nn

from lensequiv.models._recompute import recomputed
from lensequiv.models._recorded import Recorded
from lensequiv.models.sizes import InputSizes

__all__ = ["Trainable"]

T = TypeVar("T")


class Trainable(Recorded):
    """A network whose body can be frozen and whose activations can be recomputed."""

    def __init__(
        self, in_channels: int, num_classes: int, input_sizes: InputSizes
    ) -> None:
        """Checks the counts that all architectures share.

        Raises:
            ValueError: A count is not a positive integer, or beyond what a network
                of this kind is made for.
        """
        super().__init__(in_channels, num_classes, input_sizes)
        self._frozen = False
        self._recompute = False

    def freeze(self) -> Self:
        """Freezes everything but the head, for training on the embedding.

        Batch-norm statistics stay as they are, too, even after `.train()`.

        Returns:
            The model itself.
        """
        self._frozen = True
        self._set_body_gradients(False)
        return self.train(self.training)

    def unfreeze(self) -> Self:
        """Undoes `freeze`.

        Returns:
            The model itself.
        """
        self._frozen = False
        self._set_body_gradients(True)
        return self.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> Self:
        """Trades time for memory in training: activations are recomputed going back.

        Of every block only the input is kept. Gradients, batch-norm statistics and
        random numbers are those of ordinary training. `benchmarks/train_step.py` shows
        what it saves and costs.

        Returns:
            The model itself.
        """
        self._recompute = enable
        return self

    def _step(self, layer: nn.Module, x: T) -> T:
        """A layer of the body, checkpointed if so wanted."""
        if self._recompute and torch.is_grad_enabled():
            return recomputed(layer, x)
        y: T = layer(x)
        return y

    def _set_body_gradients(self, value: bool) -> None:
        for name, parameter in self.named_parameters():
            if not name.startswith("head."):
                parameter.requires_grad_(value)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; a frozen body stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            for child_name, child in self.named_children():
                if child_name != "head":
                    child.eval()
        return self
