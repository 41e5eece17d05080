"""The Lie-derivative error: how far a network is from invariant to the smallest turn.

After Gruver et al., arXiv:2210.02984. With g_t the turn by the angle t and rho(g_t)
what it does to a quantity q (turning the plane, mixing the channels of a field), the
Lie derivative of q at an image x is

    L q (x) = d/dt rho(g_t)^-1 q(g_t x)   at t = 0,

zero for an equivariant quantity. By the chain rule it is the difference of two vectors:

    L q (x) = J x' - A q(x),    x' = A x,

where A generates turns: of a map f by (y d/dx - x d/dy) f, and of the channels by the
derivative of rho. J x' is how q does change when the image turns, A q(x) how it
should. Derivatives of maps are taken by differences of fourth order over five pixels;
what these lack is part of the error, as interpolation is where maps are turned by
finite angles. So a map too coarse for what is on it has an error of about 1 in units of
its turning, whatever the network does with it.

Which layer is to blame? Let c_i be how much the logits change when the map of layer i
turns as it should, c_0 being that of the image itself. Then c_0 is the logits' own Lie
derivative, which is the sum over all layers of c_{i-1} - c_i, the contribution of layer
i: how much of it arises between the maps i - 1 and i.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lensequiv.equivariance._elements import generator
from lensequiv.equivariance._quantities import (
    evaluate,
    layer_types,
    ready_input,
    ready_network,
)
from lensequiv.inference import ImagesOrPaths
from lensequiv.models import LensNetwork

if TYPE_CHECKING:
    from lensequiv._e2cnn import FieldType

__all__ = ["LieReport", "LieRow", "lie_derivative"]

_STEP = 1e-4  # of the image's scale; rounding costs 1e-16 / _STEP in double precision


@dataclass(frozen=True)
class LieRow:
    """The Lie derivative of one quantity, per radian, root mean squares over images.

    Attributes:
        quantity: A layer's name, `"embedding"` or `"logits"`.
        error: `|L q|` over `|q|`.
        turning: `|L q|` over `|A q|`, how much the quantity should change: 1 for one
            that does not turn at all though it should. None where A q is zero, as for
            logits and embedding.
        contribution: `|c_{i-1} - c_i|` over `|logits|`: how much of the logits' change
            arises between the layer before and this one.
    """

    quantity: str
    error: float
    turning: float | None
    contribution: float


@dataclass(frozen=True)
class LieReport:
    """Lie-derivative errors of all quantities, in the order of the network.

    Attributes:
        model: What was measured.
        images: How many images.
        rows: The errors.
    """

    model: str
    images: int
    rows: tuple[LieRow, ...]

    def of(self, quantity: str) -> LieRow:
        """The row of one quantity.

        Raises:
            ValueError: It was not measured.
        """
        found = [row for row in self.rows if row.quantity == quantity]
        if not found:
            known = ", ".join(row.quantity for row in self.rows)
            raise ValueError(f"{quantity!r} was not measured; expected one of {known}")
        return found[0]

    def __str__(self) -> str:
        """A line for each quantity."""
        many = "image" if self.images == 1 else "images"
        lines = [
            f"{self.model}, Lie derivative of turns per radian, {self.images} {many}",
            f"{'':12s} {'error':>9s} {'of turning':>11s} {'contributes':>12s}",
        ]
        for row in self.rows:
            turning = "-" if row.turning is None else f"{row.turning:.2e}"
            lines.append(
                f"{row.quantity:12s} {row.error:9.2e} {turning:>11s} "
                f"{row.contribution:12.2e}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return asdict(self)


def lie_derivative(
    model: LensNetwork,
    images: ImagesOrPaths,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 8,
    device: str | torch.device | None = None,
) -> LieReport:
    """The Lie-derivative error of turns for every layer of a network.

    See the module for what it is. Computed in double precision, on a copy.

    Args:
        model: The network; in evaluation mode whatever its own mode is.
        images: As for `predict`, preprocessed here. Noise is no obstacle, but
            differences over five pixels do not follow it: without noise is better.
        layers: Submodules whose maps are measured; those of `model.field_types()` if
            None.
        batch_size: Images that go through the network at once.
        device: Where to compute; see `lensequiv.predict`. MPS has no double precision.

    Returns:
        A row for each layer, the embedding and the logits.

    Raises:
        ValueError: An image or layer does not fit the model, or the device is not
            there.
    """
    network = cast(LensNetwork, ready_network(model, torch.float64, device))
    types = layer_types(model, layers)
    x = ready_input(network, images)
    with torch.no_grad():
        parts = [_tangents(network, batch, types) for batch in x.split(batch_size)]
    names = [*types, "embedding", "logits"]

    def norm(kind: str, name: str) -> float:
        return math.sqrt(sum(float(p[kind][name].square().sum()) for p in parts))

    rows = []
    for name in names:
        change, turning = norm("change", name), norm("turning", name)
        rows.append(
            LieRow(
                quantity=name,
                error=change / norm("value", name),
                turning=change / turning if turning > 0 else None,
                contribution=norm("contribution", name) / norm("value", "logits"),
            )
        )
    return LieReport(model=model.name, images=len(x), rows=tuple(rows))


def turned_map(x: Tensor, field_type: FieldType | None = None) -> Tensor:
    """A x: how fields on a map change when they turn, per radian.

    Args:
        x: (N, C, H, W).
        field_type: What the channels are; scalars if None.

    Returns:
        The same shape.
    """
    height, width = x.shape[2:]
    kernel = torch.tensor([1.0, -8.0, 0.0, 8.0, -1.0], dtype=x.dtype, device=x.device)
    kernel = (kernel / 12).expand(x.shape[1], 1, 1, 5)
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
    along_x = F.conv2d(padded[:, :, 2:-2], kernel, groups=x.shape[1])
    along_y = F.conv2d(padded[..., 2:-2], kernel.mT, groups=x.shape[1])
    place_x = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2
    place_y = torch.arange(height, dtype=x.dtype, device=x.device) - (height - 1) / 2
    plane = place_y[:, None] * along_x - place_x * along_y
    return plane if field_type is None else plane + generator(x, field_type)


def _tangents(
    network: LensNetwork, x: Tensor, types: dict[str, FieldType | None]
) -> dict[str, dict[str, Tensor]]:
    """Values, Lie derivatives, A q and contributions of a batch, by quantity."""
    value = evaluate(network, x, types, len(x))
    tangent = turned_map(x)
    ahead, behind = (
        evaluate(network, x + sign * _STEP * tangent, types, len(x)) for sign in (1, -1)
    )
    change, turning, arrived = {}, {}, {}
    for name, q in value.items():
        moved = (ahead[name] - behind[name]) / (2 * _STEP)
        wanted = torch.zeros_like(q)
        if name in types:
            wanted = turned_map(q, types[name])
            arrived[name] = _pushed(network, x, name, wanted)
        elif name == "embedding":
            arrived[name] = torch.zeros_like(value["logits"])
        change[name], turning[name] = moved - wanted, wanted
    contribution = {}
    before = change["logits"]  # c_0
    for name in [*types, "embedding"]:
        contribution[name] = before - arrived[name]
        before = arrived[name]
    contribution["logits"] = before
    return {
        "value": value,
        "change": change,
        "turning": turning,
        "contribution": contribution,
    }


def _pushed(network: LensNetwork, x: Tensor, layer: str, tangent: Tensor) -> Tensor:
    """How the logits change when a layer's map changes by a tangent."""
    found = []
    for sign in (1, -1):
        with _shifted(network.get_submodule(layer), sign * _STEP * tangent):
            found.append(network(x))
    moved: Tensor = (found[0] - found[1]) / (2 * _STEP)
    return moved


@contextmanager
def _shifted(module: nn.Module, by: Tensor) -> Iterator[None]:
    """Adds to what a submodule returns while the network runs."""

    def add(module: nn.Module, args: Any, out: Any) -> Any:
        if isinstance(out, Tensor):
            return out + by
        return type(out)(out.tensor + by, out.type)

    hook = module.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
