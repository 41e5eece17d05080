"""What every lensequiv model can do, whatever its architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from lensequiv.models._telling import Telling
from lensequiv.models.sizes import InputSizes
from lensequiv.plain import Heads, check_device, check_input
from lensequiv.weights import list_pretrained

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

    from lensequiv._e2cnn import FieldType
    from lensequiv.inference import ImagesOrPaths, Prediction, SubstructureMap
    from lensequiv.models.conversion import PlainLayers
    from lensequiv.plain import PlainModel

__all__ = ["InputSizes", "LensNetwork"]


class LensNetwork(Telling):
    """Base of all models: sizes, features, embedding, head, freezing, prediction.

    A subclass sets `head` (the layers that `num_classes` decides) and implements
    `_features` and `_pool`, and `_plain_layers` if it has a plain form.

    `spec` is the record of all that the network is besides its tensors; `name`,
    `config`, `classes`, `input_size`, `preprocess`, `pixel_scale`, `temperature`,
    `domain` and `weights_info` read it, and check what they are set to. Pickles,
    copies, state dicts and files of `save_pretrained` carry it.

    Attributes:
        in_channels: Channels of the input.
        num_classes: Number of logits.
        input_sizes: Valid sides of the square input.
        head: From the embedding to the logits.
        input_weight: Name of the first layer's weight.
    """

    input_weight: ClassVar[str]
    head: nn.Module

    def set_input_size(self, size: int) -> LensNetwork:
        """Makes the network one for images of another size, before it is trained.

        `preprocess` then crops to that size. No weight depends on it, but what a
        network has learned does: more sky, less of a ring.

        Args:
            size: Side in pixels, one of `input_sizes`.

        Returns:
            The model itself.

        Raises:
            ValueError: The size is none of the network's.
        """
        if size not in self.input_sizes:
            raise ValueError(
                f"{self.name}: size={size}; expected one of {self.input_sizes}; "
                f"nearest: {self.input_sizes.suggestion(size)}"
            )
        if size != self.input_size:
            self._set(
                replace(
                    self.spec, input_size=size, preprocess=self._preprocess_for(size)
                )
            )
        return self

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

    def field_types(self) -> dict[str, FieldType | None]:
        """The inner layers whose maps have a known behaviour under rotation.

        Returns:
            By the submodule's name, in order: the type of the fields it returns; None
            for channels that are taken as scalars, as those of an ordinary network.
        """
        return {}

    def _plain_layers(self, layers: PlainLayers) -> None:
        raise NotImplementedError(f"{self.name} has no plain form")

    def to_torch(self) -> PlainModel:
        """The network in evaluation mode as ordinary torch modules.

        Filters are expanded and batch norms folded; logits agree to 1e-5 of their
        scale. The result shares no memory with this model, needs no e2cnn to run, save
        or load, and passes `torch.export`, `torch.compile(fullgraph=True)` and ONNX.

        Returns:
            From preprocessed images (N, in_channels, H, W) to logits.

        Raises:
            NotImplementedError: The architecture has no plain form.
        """
        from lensequiv.models.conversion import to_plain

        return to_plain(self, self._plain_layers)

    def multiply_adds(self, size: int | None = None) -> int:
        """The multiplications that the plain form needs for one image.

        As `torch.utils.flop_counter` counts them: those of convolutions and matrix
        products, each with its addition.

        Args:
            size: Side of the input in pixels, one of `input_sizes`; `input_size` if
                None.

        Raises:
            NotImplementedError: The architecture has no plain form.
        """
        from lensequiv.models.conversion import multiply_adds

        return multiply_adds(self.to_torch(), size or self.input_size)

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

    def with_map(self, fields: int) -> LensNetwork:
        """A network with the same body, classes and record, and another map head.

        Args:
            fields: Of the new, untrained head; 0 for a network without one.

        Returns:
            A new network, in evaluation mode, on the device of this one.

        Raises:
            TypeError: The architecture has no map head.
            ValueError: `fields` is out of range.
        """
        from lensequiv.models._rebuilding import with_map

        made = with_map(self, fields)
        assert isinstance(made, LensNetwork)
        return made

    def check_rebuildable(self) -> None:
        """Requires that the record alone builds a network for these tensors.

        Raises:
            ValueError: The class is not registered, its builder does not take the
                recorded options or builds another class, or layers were replaced by
                hand; the message says what.
        """
        from lensequiv.models._rebuilding import check_rebuildable

        check_rebuildable(self)

    def predict(
        self, x: ImagesOrPaths, batch_size: int = 64, **kwargs: Any
    ) -> Prediction:
        """Classifies images in any flux unit; see `lensequiv.predict`."""
        from lensequiv.inference import predict

        return predict(self, x, batch_size=batch_size, **kwargs)

    def predict_map(
        self, x: ImagesOrPaths, batch_size: int = 64, **kwargs: Any
    ) -> list[SubstructureMap]:
        """Maps the substructure of images in any flux unit.

        Args:
            x: See `lensequiv.predict`.
            batch_size: See `lensequiv.predict`.
            **kwargs: See `lensequiv.predict`.

        Returns:
            A map for each image, in order.

        Raises:
            ValueError: See `lensequiv.predict`.
        """
        maps = self.predict(x, batch_size=batch_size, **kwargs, maps=True).maps
        assert maps is not None
        return maps

    def save_pretrained(self, directory: str | Path, **kwargs: Any) -> Path:
        """Writes the model; see `lensequiv.pretrained.save_pretrained`."""
        from lensequiv.weights import save_pretrained

        return save_pretrained(self, directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> CommitInfo:
        """Publishes the model; see `lensequiv.pretrained.push_to_hub`."""
        from lensequiv.weights import push_to_hub

        return push_to_hub(self, repo_id, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as what it was built from, and state: e2cnn's modules cannot be."""
        from lensequiv.models._rebuilding import rebuild

        flags = {k: p.requires_grad for k, p in self.named_parameters()}
        return rebuild, (
            self.recipe or type(self),
            self.call,
            self.spec,
            self.origin,
            self.tensors(),
            {"_frozen": self._frozen, "_recompute": self._recompute},
            flags,
            self.training,
        )
