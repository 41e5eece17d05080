"""What a network with a head that tells quantities can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor

from lensequiv.models._trainable import Trainable
from lensequiv.plain import describe_quantities, told_quantiles
from lensequiv.weights import list_pretrained

if TYPE_CHECKING:
    from lensequiv.plain import Mixture
    from lensequiv.spec import Quantity

__all__ = ["Telling"]


class Telling(Trainable):
    """A network that may tell quantities of a lens, with their uncertainty."""

    def embed(self, x: Tensor) -> Tensor:
        """The vector that the heads look at, (N, D) of (N, C, H, W) images."""
        raise NotImplementedError

    def check_quantities(self) -> None:
        """Requires a head that tells quantities.

        Raises:
            ValueError: There is none.
        """
        if self.quantity_head is None:
            known = ", ".join(list_pretrained(quantities=True))
            raise ValueError(
                f"this {self.name} tells no quantities of a lens; bundled weights that "
                f"tell some: {known}; examples/quantities.py trains a head "
                "(docs/quantities.md)"
            )

    def forward_quantities(self, x: Tensor) -> Tensor:
        """Quantities of the lenses, with their uncertainty; no turn changes them.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, Q, 5) of the Q quantities of `quantities_spec`, in their units:
            quantiles at 2.5, 16, 50, 84 and 97.5 %.

        Raises:
            ValueError: As `embed`; or there is no head that tells quantities.
        """
        self.check_quantities()
        return self.quantiles(self.embed(x))

    def quantiles(self, embedding: Tensor) -> Tensor:
        """The same, of what `embed` returned.

        Args:
            embedding: (N, D).

        Returns:
            (N, Q, 5).

        Raises:
            ValueError: There is no head that tells quantities.
        """
        mixture, spec = self.posterior(embedding), self.quantities_spec
        assert spec is not None
        return told_quantiles(mixture, describe_quantities(spec.to_config()))

    def posterior(self, embedding: Tensor) -> Mixture:
        """The joint posterior of all quantities, before it is calibrated one by one.

        Args:
            embedding: (N, D), as `embed` returns it.

        Returns:
            In units of each quantity's `scale`, from its `mean`.

        Raises:
            ValueError: There is no head that tells quantities.
        """
        self.check_quantities()
        assert self.quantity_head is not None
        found: Mixture = self.quantity_head(embedding)
        return found

    def with_quantities(
        self,
        quantities: Sequence[Quantity],
        *,
        hidden: int = 128,
        components: int = 4,
    ) -> Self:
        """A network with the same body, classes and record that tells quantities.

        Args:
            quantities: What the new, untrained head tells; none for a network without
                one.
            hidden: Width of the head's two hidden layers.
            components: Gaussians of the posterior.

        Returns:
            A new network, in evaluation mode, on the device of this one.

        Raises:
            TypeError: The network's class is not registered.
            ValueError: A number is out of range, or a name comes twice.
        """
        from lensequiv.models._rebuilding import with_quantities

        inputs = self._embedding_size() if quantities else 1
        made = with_quantities(self, quantities, inputs, hidden, components)
        return cast("Self", made)

    @torch.no_grad()
    def _embedding_size(self) -> int:
        """Length of the vectors that `embed` returns."""
        training, size = self.training, self.input_size
        like = next(self.parameters())
        self.eval()
        try:
            x = like.new_zeros(1, self.in_channels, size, size)
            return self.embed(x).shape[1]
        finally:
            self.train(training)
