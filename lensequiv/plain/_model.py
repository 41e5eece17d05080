"""A network of plain layers, described by a config that rebuilds it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._checks import check_device, check_input
from ._convolutions import BasicBlock, Conv, Flatten, Linear, MaxPool
from ._fields import Fourier, GroupMax, IrrepNorms
from ._filters import Blur, Contrast, Mask
from ._maps import Activation, AllHeads, Heads, Light, PlainMap
from ._poolings import CopiesMean, MapMean, MapStatistics, TurnedCopies
from ._quantities import Mixture, PlainQuantities

_FORMAT = 1

_ADVICE = (
    "raw images go first through model.preprocess of the model it was made from, that "
    "is lensequiv.transforms.preprocessing_from_config(plain.config['preprocess'])"
)

_LAYERS: dict[str, type[nn.Module]] = {
    "activation": Activation,
    "basic-block": BasicBlock,
    "blur": Blur,
    "contrast": Contrast,
    "conv": Conv,
    "copies-mean": CopiesMean,
    "flatten": Flatten,
    "fourier": Fourier,
    "group-max": GroupMax,
    "irrep-norms": IrrepNorms,
    "light": Light,
    "linear": Linear,
    "map-mean": MapMean,
    "map-statistics": MapStatistics,
    "mask": Mask,
    "max-pool": MaxPool,
    "turned-copies": TurnedCopies,
}


def _made(described: Sequence[Mapping[str, Any]]) -> list[nn.Module]:
    """The layers that a config describes.

    Raises:
        ValueError: One has an unknown name.
    """
    layers = []
    for layer in described:
        arguments = {k: v for k, v in layer.items() if k != "layer"}
        if layer["layer"] not in _LAYERS:
            raise ValueError(
                f"unknown layer {layer['layer']!r}; expected one of "
                f"{', '.join(_LAYERS)}"
            )
        layers.append(_LAYERS[layer["layer"]](**arguments))
    return layers


class PlainModel(nn.Sequential):
    """A network for inference, from preprocessed images to logits.

    Attributes:
        config: What rebuilds it: `layers` (a list of names with their arguments),
            `embedding` (how many of them lead to the embedding), and `model`,
            `classes`, `in_channels`, `input_sizes`, `preprocess` and `temperature` of
            the model it was made from; `map_head` if it draws a map; `quantities` if
            it tells any.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(*_made(config["layers"]))
        if "map_head" in config:
            head = config["map_head"]
            branches = [nn.Sequential(*_made(branch)) for branch in head["branches"]]
            layers = nn.Sequential(*_made(head["layers"]))
            self.add_module("map_head", PlainMap(head["taps"], branches, layers))
        if "quantities" in config:
            self.add_module("quantity_head", PlainQuantities(config["quantities"]))
        self.config = config
        self.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(self.config["classes"])

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax: 1 if it was never fitted."""
        return float(self.config.get("temperature", 1.0))

    def _check(self, x: Tensor) -> None:
        # From the config at every call: older files lack some of it.
        name = f"plain {self.config.get('model', 'model')}"
        channels = self.config.get("in_channels")
        check_input(name, x, channels, self.config.get("input_sizes", ()), _ADVICE)
        check_device(name, self, x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, classes).

        Raises:
            TypeError: `x` is no floating-point tensor.
            ValueError: The size or channel count is not one of the network's.
        """
        self._check(x)
        for layer in self._body():
            x = layer(x)
        return x

    def _body(self) -> Iterator[nn.Module]:
        """The layers from images to logits: all modules but the map's head."""
        return islice(self, len(self.config["layers"]))

    def probabilities(self, x: Tensor) -> Tensor:
        """Softmax of the logits over the temperature.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, classes); rows add up to 1.

        Raises:
            TypeError: As `forward`.
            ValueError: As `forward`.
        """
        logits: Tensor = self(x)
        return (logits / self.temperature).softmax(1)

    def logits_and_embedding(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the vector that the head classifies, in one pass.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            (N, classes) and (N, D).

        Raises:
            TypeError: As `forward`.
            ValueError: As `forward`; or the model was saved before embeddings were
                recorded.
        """
        self._check(x)
        found = self._after(x, [self._embedding()])
        return found[-1], found[0]

    def _embedding(self) -> int:
        """How many layers lead to the embedding."""
        if "embedding" not in self.config:
            raise ValueError("this PlainModel does not say where its embedding is")
        count: int = self.config["embedding"]
        return count

    def _after(self, x: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """What comes out after so many layers each, and at last the logits."""
        found = {0: x}
        for count, layer in enumerate(self._body(), start=1):
            x = layer(x)
            if count in counts:
                found[count] = x
        return [*(found[count] for count in counts), x]

    def heads(self, x: Tensor) -> Heads:
        """Logits, embedding and the map of the substructure, in one pass.

        Args:
            x: (N, in_channels, H, W), preprocessed.

        Returns:
            See `Heads`; its map is None if the network draws none.

        Raises:
            TypeError: As `forward`.
            ValueError: As `logits_and_embedding`.
        """
        self._check(x)
        if "map_head" not in self.config:
            return Heads(*self.logits_and_embedding(x), None)
        head = self.get_submodule("map_head")
        assert isinstance(head, PlainMap)
        *inputs, embedding, logits = self._after(x, [*head.taps, self._embedding()])
        return Heads(logits, embedding, head(inputs))

    def _quantities(self) -> PlainQuantities:
        if "quantities" not in self.config:
            raise ValueError(
                "this PlainModel tells no quantities; expected one that does"
            )
        head = self.get_submodule("quantity_head")
        assert isinstance(head, PlainQuantities)
        return head

    def quantiles(self, embedding: Tensor) -> Tensor:
        """Quantities of lenses, with their uncertainty.

        Args:
            embedding: (N, D), of `logits_and_embedding`.

        Returns:
            (N, quantities, 5): quantiles in the units of `config["quantities"]`, as
            `LensNetwork.forward_quantities` has them.

        Raises:
            ValueError: The network tells no quantities.
        """
        return self._quantities().quantiles(embedding)

    def posterior(self, embedding: Tensor) -> Mixture:
        """The joint posterior of the quantities; arguments as of `quantiles`."""
        found: Mixture = self._quantities()(embedding)
        return found

    def all_heads(self) -> AllHeads:
        """A module that returns what all heads say, for export to ONNX and the like.

        Logits, then the map if the network draws one, then the quantities if it tells
        any.

        Raises:
            ValueError: The network has no head but that of the classes.
        """
        if "map_head" not in self.config and "quantities" not in self.config:
            raise ValueError(
                "this PlainModel draws no map and tells no quantities; expected one "
                "that does"
            )
        return AllHeads(self).eval()

    def bfloat16_convolutions(self) -> PlainModel:
        """Makes the convolutions compute in bf16, all else in single precision.

        Returns:
            The model itself.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(torch.bfloat16)
        return self

    def save(self, path: str | Path) -> Path:
        """Writes config and weights to one file, which `load_plain` reads.

        Args:
            path: The file; an existing one is replaced when the new one is complete.

        Returns:
            `path`.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        content = {
            "format": _FORMAT,
            "config": json.dumps(self.config),
            "state": self.state_dict(),
        }
        try:
            torch.save(content, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path


def load_plain(path: str | Path) -> PlainModel:
    """Reads what `PlainModel.save` wrote; no code from the file is executed.

    Args:
        path: The file.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds something else.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"expected format {_FORMAT}")
        model = PlainModel(json.loads(content["config"]))
        model.load_state_dict(content["state"], strict=True, assign=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file fails in any step of its reading
        raise ValueError(f"{path} is not a saved PlainModel: {error}") from error
    return model.requires_grad_(False)
