"""What every lensequiv model can do, whatever its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from lensequiv._checks import check_count
from lensequiv.models._recompute import recomputed
from lensequiv.transforms import CropAndScale, Preprocessing

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

    from lensequiv._e2cnn import FieldType
    from lensequiv._origin import Origin
    from lensequiv.inference import Images, Prediction
    from lensequiv.models.conversion import PlainLayers
    from lensequiv.plain import PlainModel
    from lensequiv.trust import Domain

__all__ = ["InputSizes", "LensModel"]

T = TypeVar("T")

# Far beyond any use; what is larger is an error, and would fill the memory.
MAX_IN_CHANNELS = 1024
MAX_CLASSES = 65_536


@dataclass(frozen=True)
class InputSizes:
    """The square input sizes a network accepts: minimum, minimum + step, ..., maximum.

    Attributes:
        minimum: Smallest side in pixels.
        step: Distance between valid sides in pixels.
        maximum: Largest side in pixels.
    """

    minimum: int
    step: int
    maximum: int

    def __contains__(self, size: object) -> bool:
        """Whether a side of `size` pixels is valid."""
        return isinstance(size, int) and size in self.range

    def __str__(self) -> str:
        """For messages: '33, 49, ..., 513' or '129'."""
        sides = self.range
        if len(sides) <= 3:
            return ", ".join(map(str, sides))
        return f"{sides[0]}, {sides[1]}, ..., {sides[-1]}"

    @property
    def range(self) -> range:
        """All valid sides."""
        return range(self.minimum, self.maximum + 1, self.step)

    def suggestion(self, size: int) -> str:
        """`nearest`, for messages: '97 or 113'."""
        return " or ".join(map(str, self.nearest(size)))

    def nearest(self, size: int) -> list[int]:
        """The valid sides next to `size`, below and above where both exist."""
        below = [s for s in self.range if s <= size][-1:]
        above = [s for s in self.range if s >= size][:1]
        return sorted(set(below + above))


class LensModel(nn.Module):
    """Base of all models: sizes, features, embedding, head, freezing, prediction.

    A subclass sets `head` (the layers that `num_classes` decides) and implements
    `_features` and `_pool`, and `_plain_layers` if it has a plain form.

    Attributes:
        name: Name under which the registry builds it.
        config: Keyword arguments that rebuild it, JSON-able.
        input_sizes: Valid sides of the square input.
        input_size: The side it was made or trained for.
        classes: Class names in the order of the logits.
        preprocess: Turns images in any flux unit into the network's input.
        weights_info: What is known about loaded weights (data, metrics, versions);
            empty for an untrained model.
        origin: Where the weights were loaded from, with their checksum; None for a
            model that was not loaded.
        temperature: What logits are divided by before the softmax; 1 until
            `lensequiv.trust.calibrate` fits it.
        domain: Where the training images lie among the network's features, or None
            until `lensequiv.trust.calibrate` measures it.
        head: From the embedding to the logits.
        input_weight: Name of the first layer's weight.
    """

    name: str
    config: dict[str, Any]
    input_size: int = 129
    input_weight: ClassVar[str]
    head: nn.Module

    def __init__(
        self, in_channels: int, num_classes: int, input_sizes: InputSizes
    ) -> None:
        """Checks the counts that all architectures share.

        Raises:
            ValueError: A count is not a positive integer, or beyond what a network
                of this kind is made for.
        """
        super().__init__()
        check_count("in_channels", in_channels, high=MAX_IN_CHANNELS)
        check_count("num_classes", num_classes, high=MAX_CLASSES)
        self.name, self.config = type(self).__name__, {}
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.input_sizes = input_sizes
        self.classes = default_classes(num_classes)
        if self.input_size not in input_sizes:
            self.input_size = input_sizes.nearest(self.input_size)[0]
        self.preprocess: Preprocessing = self._preprocess_for(self.input_size)
        self.weights_info: Mapping[str, Any] = {}
        self.origin: Origin | None = None
        self.temperature = 1.0
        self.domain: Domain | None = None
        self._frozen = False
        self._recompute = False

    def _preprocess_for(self, size: int) -> Preprocessing:
        # Smaller valid sizes are taken as they are down to three quarters.
        keep = [s for s in self.input_sizes.range if 0.75 <= s / size < 1]
        return CropAndScale(size, tuple(keep))

    def set_input_size(self, size: int) -> LensModel:
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
            self.input_size, self.preprocess = size, self._preprocess_for(size)
        return self

    def _features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _pool(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"{self.name}: input of shape {tuple(x.shape)}; expected "
                f"(N, {self.in_channels}, H, W)"
            )
        height, width = x.shape[-2:]
        if height != width or height not in self.input_sizes:
            raise ValueError(
                f"{self.name}: input of {height} x {width} pixels; expected a square "
                f"with a side of {self.input_sizes}; nearest to {height}: "
                f"{self.input_sizes.suggestion(height)}"
            )

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

        return to_plain(self)

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

        return multiply_adds(self, size or self.input_size)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, C, h, w).

        Raises:
            ValueError: The size or channel count is not one of this model's.
        """
        self._check(x)
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
        logits: Tensor = self.head(self.embed(x))
        return logits

    def freeze(self) -> LensModel:
        """Freezes everything but the head, for training on the embedding.

        Batch-norm statistics stay as they are, too, even after `.train()`.

        Returns:
            The model itself.
        """
        self._frozen = True
        self._set_body_gradients(False)
        return self.train(self.training)

    def unfreeze(self) -> LensModel:
        """Undoes `freeze`.

        Returns:
            The model itself.
        """
        self._frozen = False
        self._set_body_gradients(True)
        return self.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> LensModel:
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

    def train(self, mode: bool = True) -> LensModel:
        """Sets the mode; a frozen body stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            for child_name, child in self.named_children():
                if child_name != "head":
                    child.eval()
        return self

    def predict(self, x: Images, batch_size: int = 64, **kwargs: Any) -> Prediction:
        """Classifies images in any flux unit; see `lensequiv.predict`."""
        from lensequiv.inference import predict

        return predict(self, x, batch_size=batch_size, **kwargs)

    def save_pretrained(self, directory: str | Path, **kwargs: Any) -> Path:
        """Writes the model; see `lensequiv.pretrained.save_pretrained`."""
        from lensequiv.pretrained import save_pretrained

        return save_pretrained(self, directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> CommitInfo:
        """Publishes the model; see `lensequiv.pretrained.push_to_hub`."""
        from lensequiv.pretrained import push_to_hub

        return push_to_hub(self, repo_id, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as name, config and state: e2cnn's modules cannot be pickled."""
        from lensequiv.models.registry import rebuild

        extra = {
            "classes": self.classes,
            "input_size": self.input_size,
            "preprocess": self.preprocess,
            "weights_info": self.weights_info,
            "origin": self.origin,
            "temperature": self.temperature,
            "domain": self.domain,
            "_frozen": self._frozen,
            "_recompute": self._recompute,
        }
        flags = {k: p.requires_grad for k, p in self.named_parameters()}
        return rebuild, (
            self.name,
            self.config,
            self.state_dict(),
            extra,
            flags,
            self.training,
        )


def default_classes(num_classes: int) -> tuple[str, ...]:
    """The study's three classes, or `class0`, `class1`, ... for any other number."""
    if num_classes == 3:
        return ("no", "sphere", "vort")
    return tuple(f"class{i}" for i in range(num_classes))
