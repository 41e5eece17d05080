"""Trained networks as ordinary torch modules: fast, exportable, nothing but torch.

`model.to_torch()` makes a `PlainModel`: filters expanded, batch norm folded into the
convolution or linear layer before it, group and spatial pooling written out. This
module imports torch alone, so a saved `PlainModel` loads and runs without e2cnn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PlainModel", "load_plain"]

_FORMAT = 1
_ADVICE = (
    "raw images go first through model.preprocess of the model it was made from, that "
    "is lensequiv.transforms.preprocessing_from_config(plain.config['preprocess'])"
)


def check_input(
    name: str, x: Tensor, channels: int | None, sides: Sequence[int], advice: str
) -> None:
    """Requires a batch of square floating-point images of a size the network takes.

    Args:
        name: Of the network, for the message.
        x: The batch.
        channels: Of the input; None if unknown.
        sides: Valid sides in pixels, in equal steps; empty if unknown.
        advice: What to do with raw images.

    Raises:
        TypeError: `x` is no tensor, or one of whole numbers.
        ValueError: Its shape is not (N, channels, side, side).
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: input of type {type(x).__name__}; {advice}")
    if not x.is_floating_point():
        raise TypeError(f"{name}: input of {x.dtype}, so not preprocessed; {advice}")
    if x.ndim != 4 or channels not in (None, x.shape[1]):
        wanted = "C" if channels is None else channels
        raise ValueError(
            f"{name}: input of shape {tuple(x.shape)}; {advice}; expected "
            f"(N, {wanted}, H, W)"
        )
    if not sides:
        return
    height, width = x.shape[-2:]
    low, high = sides[0], sides[-1]
    step = sides[1] - low if len(sides) > 1 else 1
    # As arithmetic, which compilers and exporters follow for sizes still unknown.
    if height == width and low <= height <= high and (height - low) % step == 0:
        return
    few = sides if len(sides) <= 3 else (low, sides[1], "...", high)
    below = [side for side in sides if side <= height][-1:]
    above = [side for side in sides if side >= height][:1]
    nearest = " or ".join(map(str, sorted({*below, *above})))
    raise ValueError(
        f"{name}: input of {height} x {width} pixels; {advice}; expected a square with "
        f"a side of {', '.join(map(str, few))}; nearest to {height}: {nearest}"
    )


class Mask(nn.Module):
    """Multiplies by a fixed mask: `size` the side of the map."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1, size, size))

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, size, size) to the same shape."""
        return x * self.mask


def banded_matrix(kernel: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """A filter along one axis, with zeros around the map, as a matrix.

    Args:
        kernel: (taps,).
        size: Side of the map.
        stride: Every how many pixels the result is wanted.
        padding: Zeros before and after the map.

    Returns:
        (result, size) in the dtype and on the device of `kernel`.
    """
    taps, device = len(kernel), kernel.device
    count = (size + 2 * padding - taps) // stride + 1
    first = torch.arange(count, device=device) * stride - padding
    tap = torch.arange(size, device=device) - first[:, None]
    weight = kernel[tap.clamp(0, taps - 1)]
    return torch.where((tap >= 0) & (tap < taps), weight, torch.zeros_like(weight))


def gaussian_kernel(sigma: float, radius: int) -> Tensor:
    """A Gaussian of sum 1.

    Args:
        sigma: Width in pixels.
        radius: Where it is cut, in pixels.

    Returns:
        (2 radius + 1,) float64.
    """
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    return kernel / kernel.sum()


class Blur(nn.Module):
    """A separable filter with zero padding on every channel.

    As two products with banded matrices: on processors several times as fast as a
    depthwise convolution (`benchmarks/layers.py`).

    Args:
        kernel: Along either axis.
        stride: Every how many pixels the result is wanted.
        padding: Zeros around the map.
    """

    kernel: Tensor

    def __init__(self, kernel: Sequence[float], stride: int, padding: int) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor(kernel), persistent=False)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, h, w)."""
        rows, columns = (
            banded_matrix(self.kernel, size, self.stride, self.padding).to(x.dtype)
            for size in x.shape[2:]
        )
        return torch.matmul(torch.matmul(rows, x), columns.T)


class Contrast(nn.Module):
    """Local contrast: (x - B) / sqrt(B + floor), B the blurred image."""

    def __init__(self, kernel: Sequence[float], floor: float) -> None:
        super().__init__()
        self.blur = Blur(kernel, 1, len(kernel) // 2)
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        smooth: Tensor = self.blur(x)
        return (x - smooth) * torch.rsqrt(smooth.clamp_min(0) + self.floor)


class Conv(nn.Module):
    """A convolution with bias, then optionally a shortcut and a ReLU.

    The input is cast to the weights' type, so that a network can compute in bf16 what
    is worth it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        padding: int,
        shortcut: bool = False,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.shortcut, self.relu = shortcut, relu

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, h, w)."""
        x = x.to(self.conv.weight.dtype)
        y: Tensor = self.conv(x)
        if self.shortcut:
            y = y + x
        return torch.relu(y) if self.relu else y


class BasicBlock(nn.Module):
    """ResNet's: two convolutions beside a shortcut, which may be a convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(inputs, outputs, 3, stride, 1)
        self.second = Conv(outputs, outputs, 3, 1, 1, relu=False)
        changes = stride != 1 or inputs != outputs
        self.downsample = (
            Conv(inputs, outputs, 1, stride, 0, relu=False) if changes else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, h, w)."""
        aside = x if self.downsample is None else self.downsample(x)
        y: Tensor = self.second(self.first(x)) + aside
        return torch.relu(y)


class MaxPool(nn.Module):
    """Maximum over windows."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, h, w)."""
        return F.max_pool2d(x, self.kernel, self.stride, self.padding)


class GroupMax(nn.Module):
    """Maximum over the group: (N, F * order, H, W) to (N, F, H, W)."""

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        fields: Tensor = x.unflatten(1, (-1, self.order)).amax(2)
        return fields


_STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(2),
    "max": lambda x: x.amax(2),
    "std": lambda x: x.std(2),
}


def check_statistics(kinds: Any) -> tuple[str, ...]:
    """The kinds of `map_statistics` as a tuple.

    Raises:
        ValueError: They are no list of different known names.
    """
    named = isinstance(kinds, list | tuple) and all(
        isinstance(kind, str) and kind in _STATISTICS for kind in kinds
    )
    if not named or not kinds or len(set(kinds)) < len(kinds):
        raise ValueError(
            f"statistics={repr(kinds)[:60]}: expected a list of different names among "
            f"{', '.join(_STATISTICS)}"
        )
    return tuple(kinds)


def map_statistics(x: Tensor, kinds: Sequence[str]) -> Tensor:
    """Statistics over the map: (N, C, P) to (N, len(kinds) C)."""
    return torch.cat([_STATISTICS[kind](x) for kind in kinds], 1)


class MapStatistics(nn.Module):
    """`map_statistics` of (N, C, H, W), as (N, len(kinds) C)."""

    def __init__(self, kinds: Sequence[str]) -> None:
        super().__init__()
        self.kinds = check_statistics(kinds)

    def forward(self, x: Tensor) -> Tensor:
        """See the class; sums are taken in single precision."""
        x = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
        return map_statistics(x, self.kinds)


class MapMean(nn.Module):
    """Mean over the map: (N, C, H, W) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class; the sum is taken in single precision."""
        return x.to(torch.promote_types(x.dtype, torch.float32)).mean((2, 3))


class Flatten(nn.Module):
    """(N, C, H, W) to (N, C H W), in single precision or better."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))


class Linear(nn.Module):
    """A linear layer, then optionally `"relu"` or `"elu"`.

    The input is cast to the weights' type, as that of `Conv` is.
    """

    def __init__(
        self, inputs: int, outputs: int, activation: str | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs) to (N, outputs)."""
        y: Tensor = self.linear(x.to(self.linear.weight.dtype))
        if self.activation == "relu":
            return torch.relu(y)
        return F.elu(y) if self.activation == "elu" else y


_LAYERS: dict[str, type[nn.Module]] = {
    "basic-block": BasicBlock,
    "blur": Blur,
    "contrast": Contrast,
    "conv": Conv,
    "flatten": Flatten,
    "group-max": GroupMax,
    "linear": Linear,
    "map-mean": MapMean,
    "map-statistics": MapStatistics,
    "mask": Mask,
    "max-pool": MaxPool,
}


class PlainModel(nn.Sequential):
    """A network for inference, from preprocessed images to logits.

    Attributes:
        config: What rebuilds it: `layers` (a list of names with their arguments),
            `embedding` (how many of them lead to the embedding), and `model`,
            `classes`, `in_channels`, `input_sizes`, `preprocess` and `temperature` of
            the model it was made from.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        layers = []
        for layer in config["layers"]:
            arguments = {k: v for k, v in layer.items() if k != "layer"}
            if layer["layer"] not in _LAYERS:
                raise ValueError(
                    f"unknown layer {layer['layer']!r}; expected one of "
                    f"{', '.join(_LAYERS)}"
                )
            layers.append(_LAYERS[layer["layer"]](**arguments))
        super().__init__(*layers)
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
        for layer in self:
            x = layer(x)
        return x

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
        if "embedding" not in self.config:
            raise ValueError("this PlainModel does not say where its embedding is")
        embedding = x
        for count, layer in enumerate(self, start=1):
            x = layer(x)
            if count == self.config["embedding"]:
                embedding = x
        return x, embedding

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
