"""The zoo's own network: steerable convolutions, then invariant pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lensequiv._e2cnn import FieldType
from lensequiv._neutral import full_precision
from lensequiv.models._steerable_options import STRIDE, check_filters, check_options
from lensequiv.models.base import LensNetwork
from lensequiv.models.blocks import Block
from lensequiv.models.conversion import PlainLayers
from lensequiv.models.fields import fields_of
from lensequiv.models.layers import AntialiasedPool, LocalContrast
from lensequiv.models.map_head import MapHead
from lensequiv.models.sizes import InputSizes
from lensequiv.plain import (
    check_statistics,
    disc_weights,
    map_statistics,
    turned_copies,
)

__all__ = ["SteerableCNN"]

_EDGE = 4.0  # pixels of the disc's edge in the input
_HIDDEN = 64


class SteerableCNN(LensNetwork, registered="steerable"):
    """An E(2)-steerable CNN whose logits are invariant to its group on the pixel grid.

    Local contrast (a fixed isotropic filter), a steerable stem, then stages of
    steerable blocks with antialiased pooling between them, the first at a stride of 4
    pixels; then the invariants of the fields, statistics over the map (mean and
    standard deviation), and a small head. Steerable convolutions after Weiler and Cesa,
    arXiv:1911.08251. Finite groups have regular fields and the maximum over the group
    as invariant, continuous ones Fourier series and the lengths of their parts
    (`lensequiv.models.fields`).

    On the valid sizes (16 k + 1) every strided layer samples a grid that is symmetric
    about the centre, so a turn by 90 degrees (or a flip, for D groups and O(2)) of the
    input leaves the logits unchanged up to rounding. Other angles of the group are met
    approximately, as well as training with random rotations teaches.

    Args:
        group: `"c8"`, `"d4"`, `"so2"` and so on; see `lensequiv._e2cnn.parse_group`.
        in_channels: Channels of the input.
        num_classes: Number of logits.
        stem_fields: Fields after the stem.
        stem_kernel: Side of the stem's kernels in pixels, odd, 3 to 31.
        stages: Fields of the blocks of each stage; resolution is halved between stages.
        kernel: Side of all other kernels in pixels, odd, 1 to 11.
        statistics: Of each invariant over the map: names among `"mean"`, `"max"` and
            `"std"`.
        contrast_sigma: Width of the local contrast's surroundings in pixels.
        contrast_floor: Sky brightness it assumes, relative to the peak.
        own_noise: Whether contrasts are measured in units of the noise that each image
            has, and compressed far above it. Without it a network sees the same arc a
            hundred times weaker where the light of the lens sets the peak.
        dropout: Probability with which the head drops a hidden value.
        initialize: False leaves the steerable weights zero, for loading.
        stem_stride: 4, or 2 and an antialiased pooling after the stem: an image has a
            point-spread function of 1.7 pixels, so a stride of 4 loses detail and
            aliases it.
        activation: `"relu"` or `"gelu"`.
        pool_sigma: Width of the antialiased poolings' Gaussian, in pixels before the
            pooling.
        isotropic: Whether kernels have the right low-frequency limit; see
            `lensequiv._bases`.
        disc: Whether what the network sees is a disc: its input, and the places of the
            map over which the statistics are taken. The corners of a square are not
            turned into one another but by 90 degrees.
        turns: In how many orientations between 0 and 90 degrees the network looks at
            an image: the embedding is the mean over them. What differs between angles
            off the pixel grid averages out; the cost grows with it. More than 1 needs
            `disc`.
        max_frequency: Highest angular frequency of the fields of a continuous group.
        samples: Angles at which fields of a continuous group are sampled for the
            activation, a multiple of 4.
        map_fields: Fields of the head that maps the substructure (`MapHead`); 0 for a
            network without one. Needs `turns=1`.

    Raises:
        ValueError: Unknown group, or an option that is out of range or would make
            filters of more than 2**30 values.
    """

    input_weight = "stem.conv.weights"

    def __init__(
        self,
        group: str,
        in_channels: int = 1,
        num_classes: int = 3,
        *,
        stem_fields: int = 8,
        stem_kernel: int = 15,
        stages: Sequence[Sequence[int]] = ((8, 8, 8), (12, 12, 12, 12), (16, 16)),
        kernel: int = 3,
        statistics: Sequence[str] = ("mean", "std"),
        contrast_sigma: float = 3.0,
        contrast_floor: float = 0.05,
        dropout: float = 0.0,
        initialize: bool = True,
        stem_stride: int = 4,
        activation: str = "relu",
        pool_sigma: float = 0.66,
        isotropic: bool = False,
        disc: bool = False,
        turns: int = 1,
        max_frequency: int = 3,
        samples: int = 16,
        map_fields: int = 0,
        own_noise: bool = False,
    ) -> None:
        check_options(
            stages=stages,
            stem_fields=stem_fields,
            stem_kernel=stem_kernel,
            kernel=kernel,
            contrast_sigma=contrast_sigma,
            contrast_floor=contrast_floor,
            dropout=dropout,
            pool_sigma=pool_sigma,
            stem_stride=stem_stride,
            activation=activation,
            isotropic=isotropic,
            disc=disc,
            turns=turns,
            map_fields=map_fields,
            own_noise=own_noise,
        )
        self.statistics = check_statistics(statistics)
        self.turns = turns
        step = STRIDE * 2 ** (len(stages) - 1)
        sizes = InputSizes(2 * step + 1, step, 16 * step + 1)
        super().__init__(in_channels, num_classes, sizes)
        kind = self._kind = fields_of(group, max_frequency, samples)
        self.group = group
        check_filters(kind, in_channels, stem_fields, stem_kernel, stages, kernel)

        in_type = FieldType(kind.space, in_channels * [kind.space.trivial_repr])
        self.contrast = LocalContrast(
            contrast_sigma, contrast_floor, _EDGE if disc else None, own_noise
        )
        self.disc = disc
        shared: dict[str, Any] = dict(
            activation=activation, isotropic=isotropic, initialize=initialize
        )
        self.stem = Block(
            kind, in_type, stem_fields, stem_kernel, stride=stem_stride, **shared
        )
        pooled = stem_stride < STRIDE
        types = self._make_blocks(stages, kernel, pool_sigma, pooled, shared)
        self._make_head(dropout)
        if map_fields:
            self.map_head = MapHead(
                kind, in_type, types, fields=map_fields, stride=STRIDE, **shared
            )

    def _make_head(self, dropout: float) -> None:
        """Makes what turns the invariants' statistics into logits."""
        invariants = self._kind.count_invariants(len(self.out_type.representations))
        self.head = nn.Sequential(
            nn.Linear(len(self.statistics) * invariants, _HIDDEN),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(_HIDDEN, self.num_classes),
        )

    def _make_blocks(
        self,
        stages: Sequence[Sequence[int]],
        kernel: int,
        pool_sigma: float,
        pooled: bool,
        shared: dict[str, Any],
    ) -> list[FieldType]:
        """Makes the blocks after the stem; returns the fields at each stage's end."""
        layers: list[nn.Module] = []
        if pooled:  # a finer stem comes down to the first stage's stride
            layers.append(AntialiasedPool(pool_sigma))
        out_type = self.stem.conv.out_type
        stage_types: list[FieldType] = []
        self._stage_ends: list[int] = []
        for i, stage in enumerate(stages):
            if i > 0:
                layers.append(AntialiasedPool(pool_sigma))
            for fields in stage:
                block = Block(self._kind, out_type, fields, kernel, **shared)
                layers.append(block)
                out_type = block.conv.out_type
            stage_types.append(out_type)
            self._stage_ends.append(len(layers) - 1)
        self.blocks = nn.Sequential(*layers)
        self.out_type = out_type
        return stage_types

    def with_turns(self, count: int) -> SteerableCNN:
        """The same network, looking at an image in another number of orientations.

        No tensor depends on it: more copies average out more of what differs between
        angles, and cost as many times as much (docs/equivariance.md).

        Args:
            count: As the option `turns`.

        Returns:
            A new network, in evaluation mode, on the device of this one.

        Raises:
            ValueError: `count` is out of range; or it is more than 1 and this network
                was made without `disc`, or has a map head.
        """
        from lensequiv.models._rebuilding import with_options

        made = with_options(self, turns=count)
        assert isinstance(made, SteerableCNN)
        return made

    def _features(self, x: Tensor) -> Tensor:
        return self.stages(x)[-1]

    def stages(self, x: Tensor) -> list[Tensor]:
        """The feature maps at the end of every stage, of preprocessed images.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            (N, C, h, w) each, the finest first.
        """
        with full_precision():
            contrast = self.contrast(x)
            if self.turns > 1:
                contrast = turned_copies(contrast, self.turns)
        # A network cast to half precision as a whole still sees contrasts of full ones.
        contrast = contrast.to(self.stem.norm.weight.dtype)
        features: Tensor = self._step(self.stem, contrast)
        stages: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            features = self._step(block, features)
            if i in self._stage_ends:
                stages.append(features)
        return stages

    def field_types(self) -> dict[str, FieldType | None]:
        """The fields after the stem and after every block; see `LensNetwork`."""
        types: dict[str, FieldType | None] = {"stem": self.stem.conv.out_type}
        for name, block in self.blocks.named_children():
            if isinstance(block, Block):
                types[f"blocks.{name}"] = block.conv.out_type
        return types

    def invariants(self, features: Tensor) -> Tensor:
        """What no turn changes of a layer's fields, at every place of its map.

        Args:
            features: (N, C, h, w) as a layer of `field_types` returns it.

        Returns:
            (N, I, h, w): the maximum over the group of every regular field; of every
            Fourier series the lengths of its parts.
        """
        return self._kind.invariants(features)

    def _plain_layers(self, layers: PlainLayers) -> None:
        # Left out where they are not used, as in files of older versions.
        edge = {"edge": self.contrast.edge} if self.disc else {}
        unit = {"own_noise": True} if self.contrast.own_noise else {}
        layers.add(
            "contrast",
            {},
            kernel=list(self.contrast.blur.kernel),
            floor=self.contrast.floor,
            **edge,
            **unit,
        )
        if self.turns > 1:
            layers.add("turned-copies", {}, count=self.turns)
        taps: list[int] = []
        for i, block in enumerate([self.stem, *self.blocks]):
            if isinstance(block, AntialiasedPool):
                layers.add(
                    "blur",
                    {},
                    kernel=list(block.kernel),
                    stride=block.stride,
                    padding=len(block.kernel) // 2,
                )
            else:
                block.add_plain(layers)
            if i - 1 in self._stage_ends:
                taps.append(len(layers.config))
        if isinstance(self.map_head, MapHead):
            layers.map_head = self.map_head.plain(taps)
        self._kind.add_invariants(layers)
        disc = {"disc": True} if self.disc else {}
        layers.add("map-statistics", {}, kinds=list(self.statistics), **disc)
        if self.turns > 1:
            layers.add("copies-mean", {}, count=self.turns)
        layers.mark_embedding()
        head: Any = self.head
        first, norm, _, _, last = head
        layers.add_linear(first, norm, "relu")
        layers.add_linear(last)

    def _pool(self, features: Tensor) -> Tensor:
        invariant = self._kind.invariants(features).flatten(2)
        # Half precision is too coarse for sums over the map.
        invariant = invariant.to(torch.promote_types(invariant.dtype, torch.float32))
        weights = None
        if self.disc:
            height, width = features.shape[2:]
            weights = disc_weights(height, width, 1.0, invariant).flatten()
        statistics = map_statistics(invariant, self.statistics, weights)
        if self.turns > 1:
            statistics = statistics.unflatten(0, (-1, self.turns)).mean(1)
        # A model cast to half precision as a whole has its head in it, too.
        return statistics.to(self.stem.norm.weight.dtype)
