"""What a steerable network's channels are: regular fields, or Fourier series.

Both kinds answer the same questions for `SteerableCNN`: the field type of so many
fields, their norm, their non-linearity, their invariants, and the plain form of these.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from lensequiv._checks import check_count
from lensequiv._e2cnn import CONTINUOUS, FieldType, parse_group
from lensequiv.models.conversion import PlainLayers, fold_norm
from lensequiv.models.irreps import FourierActivation, FourierNorm, fourier_fields
from lensequiv.models.layers import FieldNorm
from lensequiv.plain import ACTIVATIONS, group_max, irrep_norms

__all__ = ["Fields", "FourierFields", "RegularFields", "fields_of"]


class Fields(Protocol):
    """A kind of field.

    Attributes:
        space: e2cnn's group with its action on the plane.
        size: Channels of a field.
    """

    space: Any
    size: int

    def type(self, count: int) -> FieldType:
        """The type of `count` fields."""

    def norm(self, count: int) -> nn.Module:
        """Batch normalisation of `count` fields."""

    def activation(self, name: str) -> nn.Module:
        """The non-linearity, of a pointwise function of that name."""

    def invariants(self, x: Tensor) -> Tensor:
        """I invariants of each field, at every place of the map.

        Maps (N, fields * size, H, W) to (N, fields * I, H, W).
        """

    def count_invariants(self, fields: int) -> int:
        """Fields * I of `invariants`."""

    def fold(self, weight: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
        """Filter and bias of a convolution (C, ...) with the norm that follows it."""

    def add_activation(self, layers: PlainLayers, activation: nn.Module) -> str | None:
        """The name of the plain convolution's own activation; None if a layer follows.

        A layer that follows is appended by `activation.add_plain`.
        """

    def add_invariants(self, layers: PlainLayers) -> None:
        """Appends the plain form of `invariants`."""


class Pointwise(nn.Module):
    """A function of each value by itself: what regular fields allow."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.function = name, ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        """Maps any shape to the same."""
        y: Tensor = self.function(x)
        return y


class RegularFields:
    """Regular fields of a finite group: a channel for each element.

    The invariant is the maximum over the group.

    Args:
        group: See `lensequiv._e2cnn.parse_group`.
    """

    def __init__(self, group: str) -> None:
        self.space = parse_group(group)
        self.size: int = self.space.fibergroup.order()

    def type(self, count: int) -> FieldType:
        """See `Fields`."""
        return FieldType(self.space, count * [self.space.regular_repr])

    def norm(self, count: int) -> nn.Module:
        """See `Fields`."""
        return FieldNorm(count, self.size)

    def activation(self, name: str) -> nn.Module:
        """See `Fields`."""
        return Pointwise(name)

    def invariants(self, x: Tensor) -> Tensor:
        """See `Fields`."""
        return group_max(x, self.size)

    def count_invariants(self, fields: int) -> int:
        """See `Fields`."""
        return fields

    def fold(self, weight: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
        """See `Fields`."""
        return fold_norm(weight, norm, repeat=self.size)

    def add_activation(self, layers: PlainLayers, activation: Any) -> str | None:
        """See `Fields`."""
        name: str = activation.name
        return name

    def add_invariants(self, layers: PlainLayers) -> None:
        """See `Fields`."""
        layers.add("group-max", {}, order=self.size)


class FourierFields:
    """Functions on a continuous group, as Fourier series up to a highest frequency.

    A field holds a function on the group by its coefficients: 1 + 2 F for SO(2), twice
    as many for O(2). See `lensequiv.models.irreps`. The invariants are the lengths of
    its irreducible parts, the invariant part itself with its sign.

    Args:
        group: `"so2"` or `"o2"`.
        max_frequency: F.
        samples: Angles at which the function is sampled for the non-linearity, a
            multiple of 4, which keeps turns by 90 degrees exact.

    Raises:
        ValueError: There are too few angles for the frequency, or they are no multiple
            of 4.
    """

    def __init__(self, group: str, max_frequency: int, samples: int) -> None:
        check_count("max_frequency", max_frequency, high=8)
        check_count("samples", samples, 2 * max_frequency + 1, 64)
        if samples % 4:
            raise ValueError(f"samples={samples}: expected a multiple of 4")
        self.space = parse_group(group, max_frequency)
        self.representation = fourier_fields(self.space, max_frequency)
        self.size: int = self.representation.size
        self.samples = samples
        # Of the irreducible parts; the first one is the invariant one.
        self.parts = [
            self.space.fibergroup.irreps[name].size
            for name in self.representation.irreps
        ]

    def type(self, count: int) -> FieldType:
        """See `Fields`."""
        return FieldType(self.space, count * [self.representation])

    def norm(self, count: int) -> nn.Module:
        """See `Fields`."""
        return FourierNorm(count, self.size)

    def activation(self, name: str) -> nn.Module:
        """See `Fields`."""
        return FourierActivation(self.representation, self.samples, name)

    def invariants(self, x: Tensor) -> Tensor:
        """See `Fields`."""
        return irrep_norms(x, self.parts)

    def count_invariants(self, fields: int) -> int:
        """See `Fields`."""
        return fields * len(self.parts)

    def fold(self, weight: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
        """See `Fields`."""
        folded: tuple[Tensor, Tensor] = norm.fold(weight)
        return folded

    def add_activation(self, layers: PlainLayers, activation: Any) -> str | None:
        """See `Fields`."""
        return None

    def add_invariants(self, layers: PlainLayers) -> None:
        """See `Fields`."""
        layers.add("irrep-norms", {}, parts=self.parts)


def fields_of(group: str, max_frequency: int, samples: int) -> Fields:
    """The kind of fields that a network of this group has."""
    if group.lower() in CONTINUOUS:
        return FourierFields(group, max_frequency, samples)
    return RegularFields(group)
