"""The 2021 networks, module for module, so that their checkpoints fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lensequiv._e2cnn import (
    FieldType,
    GeometricTensor,
    GroupPooling,
    InnerBatchNorm,
    MaskModule,
    PointwiseAvgPoolAntialiased,
    R2Conv,
    ReLU,
    SequentialModule,
    parse_group,
)
from lensequiv.models.base import LensNetwork
from lensequiv.models.conversion import PlainLayers, fold_norm, widened
from lensequiv.models.sizes import InputSizes
from lensequiv.transforms import Singh2021Eval

__all__ = ["Singh2021"]

_FIELDS = (24, 48, 48, 96, 96, 64)
_KERNELS = (7, 5, 5, 5, 5, 5)
_PADDINGS = (1, 2, 2, 2, 2, 1)
_HIDDEN = 64


class Singh2021(LensNetwork, registered="singh2021-{group}"):
    """The steerable CNN of the 2021 lensing study (about 100 GMAC an image for C8).

    Six blocks of steerable convolution, inner batch norm and ReLU on regular fields,
    antialiased pooling after blocks 2, 4 and 6, group pooling, and a fully connected
    classifier on the *flattened* 64 x 26 x 26 map. Because of the flattening its
    logits are **not** invariant, not even under 90-degree turns (they change by about
    20 %): only the feature maps are equivariant. Use `c4`, `c8`, `d4` or `d8` for
    invariant logits.

    Its `preprocess` is the study's own, `lensequiv.transforms.Singh2021Eval`.

    If you use this model, cite the study: A. Singh, "Equivariant Neural Networks for
    DeepLense", ML4SCI, 2021 (see `CITATION.cff`).

    Args:
        group: `"c4"`, `"c8"`, `"d4"` or `"d8"` in the study; any `parse_group` knows.
        in_channels: Channels of the input.
        num_classes: Number of logits.
        fields: Regular fields of the six blocks, for networks made with the study's
            code but of another width.
        initialize: False leaves the steerable weights zero, for loading.

    Raises:
        ValueError: Unknown group, a count that is not a positive integer, or not six
            fields.
    """

    input_weight = "block1.1.weights"

    def __init__(
        self,
        group: str,
        in_channels: int = 1,
        num_classes: int = 3,
        *,
        fields: Sequence[int] = _FIELDS,
        initialize: bool = True,
    ) -> None:
        super().__init__(in_channels, num_classes, InputSizes(129, 1, 129))
        if len(fields) != len(_KERNELS) or min(fields) < 1:
            raise ValueError(f"fields={fields!r}: expected six positive integers")
        self.preprocess = Singh2021Eval()
        space = parse_group(group)
        self.group = group
        in_type = FieldType(space, in_channels * [space.trivial_repr])
        self.input_type = in_type
        for i, (count, kernel, padding) in enumerate(
            zip(fields, _KERNELS, _PADDINGS, strict=True), start=1
        ):
            out_type = FieldType(space, count * [space.regular_repr])
            layers = [MaskModule(in_type, self.input_size, margin=1)] if i == 1 else []
            layers += [
                R2Conv(
                    in_type,
                    out_type,
                    kernel,
                    padding=padding,
                    bias=False,
                    initialize=initialize,
                ),
                InnerBatchNorm(out_type),
                ReLU(out_type, inplace=True),
            ]
            setattr(self, f"block{i}", SequentialModule(*layers))
            if i % 2 == 0:
                options = {"stride": 2} if i < 6 else {"stride": 1, "padding": 0}
                pool = PointwiseAvgPoolAntialiased(out_type, sigma=0.66, **options)
                setattr(self, f"pool{i // 2}", pool)
            in_type = out_type
        self.gpool = GroupPooling(in_type)
        self.fully_net = nn.Sequential(
            nn.Linear(fields[-1] * 26 * 26, _HIDDEN),
            nn.BatchNorm1d(_HIDDEN),
            nn.ELU(inplace=True),
        )
        self.head = nn.Linear(_HIDDEN, num_classes)

    def _features(self, x: Tensor) -> Tensor:
        x = self._cast(x)
        field = GeometricTensor(x, self.input_type)
        for i in range(1, 7):
            field = self._step(getattr(self, f"block{i}"), field)
            if i % 2 == 0:
                field = self._step(getattr(self, f"pool{i // 2}"), field)
        tensor: Tensor = field.tensor
        return tensor

    def field_types(self) -> dict[str, FieldType | None]:
        """The fields after every block; see `LensNetwork`."""
        return {f"block{i}": getattr(self, f"block{i}").out_type for i in range(1, 7)}

    def _plain_layers(self, layers: PlainLayers) -> None:
        body: Any = self  # its blocks are e2cnn's, which has no types
        mask, *_ = body.block1.children()
        layers.add("mask", {"mask": mask.mask[:1, :1]}, size=self.input_size)
        for i in range(1, 7):
            *_, conv, norm, _ = getattr(body, f"block{i}").children()
            (batch_norm,) = norm.children()  # one size of field
            order = conv.out_type.representations[0].size
            weight, bias = fold_norm(conv.filters()[0], batch_norm, repeat=order)
            layers.add_conv(weight, bias, conv.stride, conv.padding)
            if i % 2 == 0:
                pool = getattr(self, f"pool{i // 2}")
                # The outer product of the kernel with itself, of sum 1.
                kernel = widened(pool.filter[0, 0]).sum(1)
                layers.add(
                    "blur",
                    {},
                    kernel=kernel.tolist(),
                    stride=_int(pool.stride),
                    padding=_int(pool.padding),
                )
        layers.add("group-max", {}, order=order)
        layers.add("flatten", {})
        linear, hidden_norm, _ = body.fully_net
        layers.add_linear(linear, hidden_norm, "elu")
        layers.mark_embedding()
        layers.add_linear(body.head)

    def _pool(self, features: Tensor) -> Tensor:
        invariant = self.gpool(GeometricTensor(features, self.gpool.in_type)).tensor
        hidden: Tensor = self.fully_net(invariant.flatten(1))
        return hidden


def _int(pair: int | tuple[int, int]) -> int:
    return pair if isinstance(pair, int) else pair[0]
