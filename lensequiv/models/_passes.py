"""The ways through a network: to features, embedding, logits and other answers."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from lensequiv.models._telling import Telling
from lensequiv.plain import Heads, check_device, check_input
from lensequiv.weights import list_pretrained

__all__ = ["Passes"]


class Passes(Telling):
    """A network's passes, of the layers that an architecture implements."""

    input_weight: ClassVar[str]
    head: nn.Module

    def _features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _pool(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def stages(self, x: Tensor) -> list[Tensor]:
        """The feature maps that the heads look at, of preprocessed images.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            (N, C, h, w) each, the finest first; the last is that of `forward_features`.
        """
        return [self._features(x)]

    def check_input(self, x: Tensor) -> None:
        """Requires a batch of preprocessed images, (N, in_channels, H, W).

        Raises:
            TypeError: `x` is no floating-point tensor.
            ValueError: The size or channel count is not one of this model's.
        """
        size = self.input_size
        check_input(
            self.name,
            x,
            self.in_channels,
            self.input_sizes.range,
            f"raw images go first through model.preprocess, which makes them {size} x "
            f"{size} (model.predict does it by itself)",
        )

    def _cast(self, x: Tensor) -> Tensor:
        """`x` in the type of the first layer's weight."""
        layer, _, name = self.input_weight.rpartition(".")
        # Not `get_parameter`: in replicas of DataParallel weights are plain tensors.
        weight: Tensor = getattr(self.get_submodule(layer), name)
        return x.to(weight.dtype)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, C, h, w).

        Raises:
            TypeError: `x` is no floating-point tensor.
            ValueError: The size or channel count is not one of this model's, or `x` is
                on another device than the model.
        """
        self.check_input(x)
        check_device(self.name, self, x)
        return self._features(x)

    def embed(self, x: Tensor) -> Tensor:
        """The vector the head classifies; invariant where the model is.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, D).

        Raises:
            ValueError: As `forward_features`.
        """
        return self._pool(self.forward_features(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, num_classes).

        Raises:
            ValueError: As `forward_features`.
        """
        return self.logits_and_embedding(x)[0]

    def logits_and_embedding(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the vectors that the head makes them of.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, num_classes), as `forward`, and (N, D), as `embed`.

        Raises:
            ValueError: As `forward_features`.
        """
        embedding = self.embed(x)
        return self.head(embedding), embedding

    def heads(self, x: Tensor) -> Heads:
        """Logits, embedding and the map of the substructure, in one pass.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            Logits (N, num_classes), as `forward`; embedding (N, D), as `embed`; and
            map (N, 4, h, w), as `forward_map`, or None if the network draws none.

        Raises:
            ValueError: As `forward_features`.
        """
        self.check_input(x)
        check_device(self.name, self, x)
        stages = self.stages(x)
        embedding = self._pool(stages[-1])
        drawn = None if self.map_head is None else self.map_head(x, stages)
        return Heads(self.head(embedding), embedding, drawn)

    def forward_map(self, x: Tensor) -> Tensor:
        """The map of the substructure; it turns with the image.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, 4, h, w): the median of the substructure's convergence, its 16 % and
            84 % quantiles, and the probability that a subhalo is near; `map_spec` has
            the numbers that belong to it. Cell (i, j) is centred on pixel (s i, s j),
            with s = `map_spec.stride`.

        Raises:
            ValueError: As `forward_features`; or there is no map head.
        """
        if self.map_head is None:
            self.check_map()
        drawn = self.heads(x).map
        assert drawn is not None
        return drawn

    def check_map(self) -> None:
        """Requires a head that maps the substructure, and was trained.

        Raises:
            ValueError: There is none; the message names weights that have one.
        """
        if self.map_head is None or self.map_spec is None:
            known = ", ".join(list_pretrained(maps=True))
            what = "draws no map" if self.map_head is None else "has an untrained map"
            raise ValueError(
                f"this {self.name} {what} of the substructure; bundled weights that "
                f"draw one: {known}"
            )
