"""The head that draws the substructure: a map that turns with the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lensequiv._e2cnn import FieldType
from lensequiv.models.blocks import Block
from lensequiv.models.conversion import PlainLayers, PlainLayersOfMap
from lensequiv.models.fields import Fields
from lensequiv.models.layers import SteerableConv
from lensequiv.plain import enlarged, light_at, map_quantities

__all__ = ["MapHead"]

_HIDDEN = 32
_RAW = 4  # median, two widths, presence
_FIRST = 0.2, -1.0, -1.0, -3.0  # where training begins
_BLOCKS = 2


class MapHead(nn.Module):
    """Maps of the substructure from the fields of a steerable network.

    The fields at the end of every stage, each through a steerable 1 x 1 convolution,
    and the light of the image are brought to the grid of the first stage and added up
    (a feature pyramid: Lin et al., arXiv:1612.03144); then two steerable blocks, the
    invariants of the fields, and a small network at every place. All of it turns with
    the image: exactly by 90 degrees (and mirrored, for groups with reflections), as
    well as the body does by other angles.

    Args:
        kind: Of the fields.
        image_type: Of the image.
        stage_types: At the end of every stage.
        fields: How many fields the head has.
        stride: Image pixels a cell of the map.
        activation: See `SteerableCNN`.
        **options: Of `SteerableConv`.
    """

    def __init__(
        self,
        kind: Fields,
        image_type: FieldType,
        stage_types: Sequence[FieldType],
        *,
        fields: int,
        stride: int,
        activation: str,
        **options: Any,
    ) -> None:
        super().__init__()
        self.stride, self._kind = stride, kind
        inner = kind.type(fields)
        self.light = SteerableConv(image_type, inner, 3, **options)
        self.laterals = nn.ModuleList(
            SteerableConv(found, inner, 1, **options) for found in stage_types
        )
        self.norm: Any = kind.norm(fields)
        self.activation: Any = kind.activation(activation)
        self.blocks = nn.Sequential(
            *(
                Block(kind, inner, fields, 3, activation, **options)
                for _ in range(_BLOCKS)
            )
        )
        self.draw = nn.Sequential(
            nn.Conv2d(kind.count_invariants(fields), _HIDDEN, 1),
            nn.ReLU(),
            nn.Conv2d(_HIDDEN, _RAW, 1),
        )
        with torch.no_grad():
            last: Any = self.draw[-1]
            last.bias.copy_(torch.tensor(_FIRST))

    def raw(self, x: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """What `lensequiv.plain.map_quantities` makes the map of.

        Args:
            x: (N, C, H, W), preprocessed.
            stages: Feature maps at the end of every stage, the finest first.

        Returns:
            (N, 4, h, w).
        """
        first = stages[0]
        y: Tensor = self.light(light_at(x, self.stride).to(first.dtype))
        for lateral, features in zip(self.laterals, stages, strict=True):
            y = y + enlarged(lateral(features), first.shape[2], first.shape[3])
        y = self.blocks(self.activation(self.norm(y)))
        drawn: Tensor = self.draw(self._kind.invariants(y).to(first.dtype))
        return drawn

    def forward(self, x: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """The map, (N, 4, h, w); see `LensNetwork.forward_map`."""
        return map_quantities(self.raw(x, stages))

    def plain(self, taps: Sequence[int]) -> PlainLayersOfMap:
        """The plain form of the head.

        Args:
            taps: How many layers of the body lead to each stage's feature map.
        """
        branches: list[PlainLayers] = []
        convolutions: list[Any] = [self.light, *self.laterals]
        for i, conv in enumerate(convolutions):
            layers = PlainLayers()
            if i == 0:
                layers.add("light", {}, stride=self.stride)
            weight, bias = self._kind.fold(conv.filters()[0], self.norm)
            # The norm of the sum: its shift is added once.
            bias = bias if i == 0 else torch.zeros_like(bias)
            layers.add_conv(weight, bias, 1, conv.padding, activation=None)
            branches.append(layers)
        layers = PlainLayers()
        name = self._kind.add_activation(layers, self.activation)
        if name is None:
            self.activation.add_plain(layers)
        else:
            layers.add("activation", {}, name=name)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.add_plain(layers)
        self._kind.add_invariants(layers)
        draw: Any = self.draw
        first, _, last = draw
        layers.add_conv(first.weight, first.bias, 1, 0)
        layers.add_conv(last.weight, last.bias, 1, 0, activation=None)
        return PlainLayersOfMap([0, *taps], branches, layers)
