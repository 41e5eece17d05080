"""Trained networks as ordinary torch modules: fast, exportable, nothing but torch.

`model.to_torch()` makes a `PlainModel`: filters expanded, batch norm folded into the
convolution or linear layer before it, group and spatial pooling written out. This
module imports torch alone, so a saved `PlainModel` loads and runs without e2cnn.
"""

from __future__ import annotations

import json
import math
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


def check_device(name: str, network: nn.Module, x: Tensor) -> None:
    """Requires a batch on the device of the network's weights.

    Args:
        name: Of the network, for the message.
        network: Whose first parameter says where it is.
        x: The batch.

    Raises:
        ValueError: It is on another; the message names both.
    """
    if torch.compiler.is_compiling():
        return
    weight = next(network.parameters(), None)  # copies of DataParallel have none
    if weight is not None and weight.device != x.device:
        raise ValueError(
            f"{name} is on {weight.device}, the images are on {x.device}; expected one "
            f"device: x.to({str(weight.device)!r}), or model.to({str(x.device)!r})"
        )


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
}


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


def as_products(x: Tensor, taps: int) -> bool:
    """Whether a separable filter is computed as two products with banded matrices.

    They are several times as fast as a depthwise convolution on processors
    (`benchmarks/layers.py`), and up to three times on a GPU, but for memory in
    channels-last order, where a depthwise convolution takes half of their time
    (`benchmarks/gpu.py --profile`). Filters of many taps, of which there is one, on the
    image, are always products: a convolution of a single channel is no depthwise one
    and would be rounded to TF32.
    """
    if x.device.type == "cpu" or taps > 7:
        return True
    return not x.is_contiguous(memory_format=torch.channels_last)


def filtered(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    """A separable filter as a depthwise convolution.

    Args:
        x: (N, C, H, W).
        kernel: (taps,) along either axis.
        stride: Every how many pixels the result is wanted.
        padding: Zeros around the map.

    Returns:
        (N, C, h, w).
    """
    channels = x.shape[1]
    weight = torch.outer(kernel, kernel).to(x.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(x, weight, None, stride, padding, groups=channels)


class Blur(nn.Module):
    """A separable filter with zero padding on every channel; see `as_products`.

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
        if not as_products(x, len(self.kernel)):
            return filtered(x, self.kernel, self.stride, self.padding)
        rows, columns = (
            banded_matrix(self.kernel, size, self.stride, self.padding).to(x.dtype)
            for size in x.shape[2:]
        )
        return torch.matmul(torch.matmul(rows, x), columns.T)


class Contrast(nn.Module):
    """Local contrast: (x - B) / sqrt(B + floor), B the blurred image.

    Args:
        kernel: Of the blur, along either axis.
        floor: See the formula.
        edge: If not None: only the pixels within `disc_weights` of that edge count.
    """

    def __init__(
        self, kernel: Sequence[float], floor: float, edge: float | None = None
    ) -> None:
        super().__init__()
        self.blur = Blur(kernel, 1, len(kernel) // 2)
        self.floor, self.edge = floor, edge

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        return local_contrast(x, self.blur, self.floor, self.edge)


def local_contrast(
    x: Tensor,
    blur: Callable[[Tensor], Tensor],
    floor: float,
    edge: float | None,
) -> Tensor:
    """(x - B) / sqrt(B + floor); see `Contrast`."""
    if edge is None:
        smooth = blur(x)
        return (x - smooth) * torch.rsqrt(smooth.clamp_min(0) + floor)
    weights = disc_weights(x.shape[2], x.shape[3], edge, x)
    # A mean over the pixels that count, also where the blur reaches beyond them.
    share = blur(weights[None, None]).clamp_min(1e-3)
    smooth = blur(x * weights) / share
    return weights * (x - smooth) * torch.rsqrt(smooth.clamp_min(0) + floor)


class Conv(nn.Module):
    """A convolution with bias, then optionally a shortcut and an activation.

    `relu=False` leaves the activation out. The input is cast to the weights' type, so
    that a network can compute in bf16 what is worth it.
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
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.shortcut, self.relu = shortcut, relu
        self.function = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, h, w)."""
        x = x.to(self.conv.weight.dtype)
        y: Tensor = self.conv(x)
        if self.shortcut:
            y = y + x
        return self.function(y) if self.relu else y


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


def group_max(x: Tensor, order: int) -> Tensor:
    """Maximum over the group: (N, F * order, H, W) to (N, F, H, W)."""
    fields: Tensor = x.unflatten(1, (-1, order)).amax(2)
    return fields


class GroupMax(nn.Module):
    """`group_max`."""

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return group_max(x, self.order)


def irrep_norms(x: Tensor, parts: Sequence[int]) -> Tensor:
    """Lengths of the irreducible parts of fields: what no turn changes.

    Args:
        x: (N, F * size, H, W).
        parts: Sizes of a field's parts, which add up to `size`. The first one is
            invariant by itself and keeps its sign.

    Returns:
        (N, F * parts, H, W), in single precision or better.
    """
    fields = x.unflatten(1, (-1, sum(parts)))
    fields = fields.to(torch.promote_types(x.dtype, torch.float32))
    first, *others = fields.split(list(parts), 2)
    # The length has no gradient at 0.
    lengths = [(part.square().sum(2, keepdim=True) + 1e-12).sqrt() for part in others]
    return torch.cat([first, *lengths], 2).flatten(1, 2)


class IrrepNorms(nn.Module):
    """`irrep_norms`."""

    def __init__(self, parts: Sequence[int]) -> None:
        super().__init__()
        self.parts = list(parts)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return irrep_norms(x, self.parts)


class Fourier(nn.Module):
    """An activation of the values of Fourier series: to values, activation, back.

    Args:
        samples: Values of a field's function.
        size: Coefficients of a field.
        activation: `"relu"` or `"gelu"`.
    """

    to_values: Tensor
    to_coefficients: Tensor

    def __init__(self, samples: int, size: int, activation: str) -> None:
        super().__init__()
        self.register_buffer("to_values", torch.zeros(samples, size))
        self.register_buffer("to_coefficients", torch.zeros(size, samples))
        self.function = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, F * size, H, W) to the same shape."""
        fields = x.unflatten(1, (-1, self.to_values.shape[1])).flatten(3)
        values = self.function(torch.matmul(self.to_values.to(x.dtype), fields))
        back = torch.matmul(self.to_coefficients.to(values.dtype), values)
        coefficients: Tensor = back.flatten(1, 2).unflatten(2, x.shape[2:])
        return coefficients


def disc_weights(height: int, width: int, edge: float, like: Tensor) -> Tensor:
    """1 within the largest disc of a map, 0 beyond, with a linear edge.

    Args:
        height: Of the map, in pixels.
        width: Of the map, in pixels.
        edge: Width of the edge, in pixels.
        like: Of the result's dtype and device.

    Returns:
        (height, width).
    """
    y, x = (
        torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
        for side in (height, width)
    )
    distance = (y.square()[:, None] + x.square()).sqrt()
    return ((min(height, width) / 2 - distance) / edge).clamp(0, 1)


def turned_copies(x: Tensor, count: int) -> Tensor:
    """Maps turned by (k + 1/2) 90 / count degrees, k = 0 ... count - 1.

    Every copy is interpolated (bicubic), none is the map itself, and the angles are
    symmetric about 45 degrees: turns by 90 degrees and mirror images of the map permute
    the copies and turn them by multiples of 90 degrees, exactly.

    Args:
        x: (N, C, H, H) maps that are zero beyond the largest disc.
        count: Copies.

    Returns:
        (N count, C, H, H), the copies of a map one after another.
    """
    side = x.shape[-1]
    steps = (2 * torch.arange(side, dtype=x.dtype, device=x.device) + 1) / side - 1
    grids = []
    for k in range(count):
        angle = math.radians((k + 0.5) * 90 / count)
        cos, sin = math.cos(angle), math.sin(angle)
        columns = cos * steps - sin * steps[:, None]
        rows = sin * steps + cos * steps[:, None]
        grids.append(torch.stack([columns, rows], -1))
    grid = torch.stack(grids).repeat(x.shape[0], 1, 1, 1)
    copies = x.repeat_interleave(count, 0)
    return F.grid_sample(copies, grid, mode="bicubic", align_corners=False)


class TurnedCopies(nn.Module):
    """`turned_copies`."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return turned_copies(x, self.count)


class CopiesMean(nn.Module):
    """Mean over `turned_copies`: (N count, C) to (N, C)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        mean: Tensor = x.unflatten(0, (-1, self.count)).mean(1)
        return mean


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


def map_statistics(
    x: Tensor, kinds: Sequence[str], weights: Tensor | None = None
) -> Tensor:
    """Statistics over the map.

    Args:
        x: (N, C, P).
        kinds: See `check_statistics`.
        weights: (P,) of the places, all alike if None. The maximum is that of the
            weighted map.

    Returns:
        (N, len(kinds) C).
    """
    if weights is None:
        return torch.cat([_STATISTICS[kind](x) for kind in kinds], 1)
    weights = weights / weights.sum()
    mean = (x * weights).sum(2)
    found: list[Tensor] = []
    for kind in kinds:
        if kind == "mean":
            found.append(mean)
        elif kind == "std":
            variance = ((x - mean[..., None]).square() * weights).sum(2)
            found.append((variance + 1e-12).sqrt())
        else:
            found.append((x * (weights / weights.max())).amax(2))
    return torch.cat(found, 1)


class MapStatistics(nn.Module):
    """`map_statistics` of (N, C, H, W), as (N, len(kinds) C).

    Args:
        kinds: See `check_statistics`.
        disc: Whether the places are weighted by `disc_weights` with an edge of a pixel.
    """

    def __init__(self, kinds: Sequence[str], disc: bool = False) -> None:
        super().__init__()
        self.kinds, self.disc = check_statistics(kinds), disc

    def forward(self, x: Tensor) -> Tensor:
        """See the class; sums are taken in single precision."""
        height, width = x.shape[2:]
        x = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
        weights = None
        if self.disc:
            weights = disc_weights(height, width, 1.0, x).flatten()
        return map_statistics(x, self.kinds, weights)


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
    "copies-mean": CopiesMean,
    "flatten": Flatten,
    "fourier": Fourier,
    "group-max": GroupMax,
    "irrep-norms": IrrepNorms,
    "linear": Linear,
    "map-mean": MapMean,
    "map-statistics": MapStatistics,
    "mask": Mask,
    "max-pool": MaxPool,
    "turned-copies": TurnedCopies,
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
