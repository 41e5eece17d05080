"""Feature maps of one lens while it turns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lensequiv.equivariance._elements import stabilise
from lensequiv.equivariance._quantities import evaluate, ready_input, ready_network
from lensequiv.equivariance._rotated import Orbits
from lensequiv.models import LensNetwork

__all__ = ["OrbitMaps", "orbit_maps"]


@dataclass(frozen=True)
class OrbitMaps:
    """One field of one layer for one lens at each of A angles.

    Attributes:
        orbits: What they belong to.
        lens: Index of the lens.
        layer: Name of the layer.
        field: Index of the field (of the channel where the network has no fields).
        strength: (A, h, w), the field's maximum over the group.
        vectors: (A, 2, h, w), its first Fourier component over the group, x and y
            where row 0 is at the bottom; zeros for a network without fields.
        stable_strength: The same, turned back by `stabilise`.
        stable_vectors: The same, turned back by `stabilise`.
    """

    orbits: Orbits
    lens: int
    layer: str
    field: int
    strength: Tensor
    vectors: Tensor
    stable_strength: Tensor
    stable_vectors: Tensor


def orbit_maps(
    model: LensNetwork,
    orbits: Orbits,
    *,
    lens: int = 0,
    layer: str | None = None,
    field: int | None = None,
) -> OrbitMaps:
    """Feature maps of a lens at all angles, as they are and turned back.

    Args:
        model: The network that `orbits` belongs to.
        orbits: From `lensequiv.equivariance.orbits`.
        lens: Index of the lens.
        layer: One of `model.field_types()`; if None the deepest one whose maps are as
            large as the first one's.
        field: Index of the field. If None the typical one: of the fields that are not
            zero, the one whose change while the lens turns is the median.

    Returns:
        One field's strength and vectors.

    Raises:
        ValueError: There is no such lens or layer.
    """
    lenses, types = orbits.lenses, model.field_types()
    if not 0 <= lens < len(lenses.reference):
        raise ValueError(f"lens={lens}: expected 0 to {len(lenses.reference) - 1}")
    if layer is not None and layer not in types:
        known = ", ".join(types) or "none"
        raise ValueError(f"{model.name}: layer {layer!r}; expected one of {known}")
    network = ready_network(model, None)
    found = evaluate(network, ready_input(network, lenses.images[:, lens]), types, 8)
    maps = {name: value.cpu() for name, value in found.items()}
    if layer is None:
        first, *_ = (maps[name].shape[2:] for name in types)
        layer = [name for name in types if maps[name].shape[2:] == first][-1]
    field_type = types[layer]
    still = [stabilise(one[None], 0.0, field_type) for one in maps[layer]]
    back = [
        stabilise(one[None], angle, field_type)
        for one, angle in zip(maps[layer], lenses.angles, strict=True)
    ]
    if field is None:
        field = _typical(torch.cat([fields for fields, _ in back]))

    def strength(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        return torch.stack([fields[0, field].amax(0) for fields, _ in parts])

    def vectors(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        return torch.stack([vector[0, field] for _, vector in parts])

    return OrbitMaps(
        orbits=orbits,
        lens=lens,
        layer=layer,
        field=field,
        strength=strength(still),
        vectors=vectors(still),
        stable_strength=strength(back),
        stable_vectors=vectors(back),
    )


def _typical(stable: Tensor) -> int:
    """The field, of those that are not zero, with the median relative change.

    Args:
        stable: (A, F, G, h, w), turned back.
    """
    power = stable.square().sum((0, 2, 3, 4))
    change = (stable - stable.mean(0)).square().sum((0, 2, 3, 4))
    alive = (power > 1e-4 * power.max()).nonzero().flatten()
    order = (change[alive] / power[alive]).argsort()
    return int(alive[order[(len(order) - 1) // 2]])
