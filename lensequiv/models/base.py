"""What every lensequiv model can do, whatever its architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensequiv.models._by_hand import replaced_layer
from lensequiv.models._passes import Passes
from lensequiv.models.sizes import InputSizes

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

    from lensequiv._e2cnn import FieldType
    from lensequiv.inference import ImagesOrPaths, Prediction, SubstructureMap
    from lensequiv.models.conversion import PlainLayers
    from lensequiv.plain import PlainModel

__all__ = ["InputSizes", "LensNetwork"]


class LensNetwork(Passes):
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
            NotImplementedError: The architecture has no plain form, or a layer was
                replaced by hand.
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

        if replaced := replaced_layer(self):
            raise TypeError(
                f"{self.name} cannot be copied or pickled: {replaced}; for another "
                "head use create_model or from_pretrained with num_classes or classes"
            )
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
