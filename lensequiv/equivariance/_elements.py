"""Turns and mirror images, and what they do to images and fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lensequiv._e2cnn import FieldType

__all__ = ["Element", "group_elements", "group_of", "stabilise", "transform"]


@dataclass(frozen=True)
class Element:
    """A turn of the sky, after a mirror image along x if `flip`.

    Attributes:
        angle: Anticlockwise where row 0 is at the bottom, like the `rotation` of
            `lensequiv.simulation.simulate`. *Unit*: degrees.
        flip: Whether the image is mirrored (columns in reverse) before it is turned.
    """

    angle: float
    flip: bool = False

    def __str__(self) -> str:
        """For tables: 'turn 90', 'mirror', 'mirror, turn 90'."""
        if self.flip:
            return "mirror" + (f", turn {self.angle:g}" if self.angle else "")
        return f"turn {self.angle:g}"

    @property
    def on_grid(self) -> bool:
        """Whether it moves pixels onto pixels."""
        return self.angle % 90 == 0


def group_elements(group: str) -> list[Element]:
    """The elements of a group, without the one that changes nothing.

    Args:
        group: `"c8"`, `"d4"` and so on; see `lensequiv._e2cnn.parse_group`. Of the
            continuous groups `"so2"` and `"o2"` those that move pixels onto pixels.

    Raises:
        ValueError: The name is not of this form.
    """
    from lensequiv._e2cnn import parse_group

    rotations, flips = _orders(parse_group(group))
    rotations = rotations or 4
    return [
        Element(360 * k / rotations, flip)
        for flip in (False, True)[:flips]
        for k in range(rotations)
        if k or flip
    ]


def group_of(field_type: FieldType) -> str:
    """The name of the group a field type belongs to."""
    rotations, flips = _orders(field_type.gspace)
    if not rotations:
        return ("so2", "o2")[flips - 1]
    return f"{'cd'[flips - 1]}{rotations}"


def _orders(space: Any) -> tuple[int, int]:
    """Rotations, 0 if they are continuous; and 2 with mirror images, else 1."""
    if space.fibergroup.order() < 0:
        return 0, 1 + (space.fibergroup.name == "O(2)")
    elements = space.fibergroup.elements
    if isinstance(elements[0], tuple):
        return len(elements) // 2, 2
    if type(space).__name__ == "Flip2dOnR2":
        return 1, 2
    return len(elements), 1


def transform(
    x: Tensor, element: Element, field_type: FieldType | None = None
) -> Tensor:
    """What an element of the group does to fields on the pixel grid.

    The plane is turned, and at each place the channels of a field are mixed by its
    representation: (g f)(p) = rho(g) f(g^-1 p). For regular fields rho(g) permutes the
    channels; scalars stay as they are.

    Args:
        x: (N, C, H, W) of fields on a map, or (N, C) of fields without place, such as
            a map's mean; then any element of the group will do.
        element: A turn by a multiple of 90 degrees, after a mirror image or not.
        field_type: What the channels are; scalars if None.

    Returns:
        The same shape.

    Raises:
        ValueError: The element does not move pixels onto pixels, or is not in the
            field type's group, or C is not the field type's size.
    """
    if x.ndim == 4:
        if not element.on_grid:
            raise ValueError(
                f"{element}: expected a multiple of 90 degrees; other angles do not "
                "move pixels onto pixels"
            )
        x = x.flip(3) if element.flip else x
        x = torch.rot90(x, -round(element.angle / 90), (2, 3))
    return x if field_type is None else _mix(x, element, field_type)


def _mix(x: Tensor, element: Element, field_type: FieldType) -> Tensor:
    """Applies the representation to the channels."""
    if x.shape[1] != field_type.size:
        raise ValueError(
            f"{x.shape[1]} channels; expected {field_type.size}, the size of the field "
            "type"
        )
    name = _name_of(element, field_type)
    parts, start = [], 0
    representations = list(field_type.representations)
    while representations:  # runs of equal representations go together
        first = representations[0]
        count = next(
            (i for i, r in enumerate(representations) if r != first),
            len(representations),
        )
        del representations[:count]
        block = x[:, start : start + count * first.size]
        start += count * first.size
        matrix = torch.as_tensor(first(name)).to(x.device, x.dtype)
        fields = block.unflatten(1, (count, first.size))
        mixed = torch.einsum("gh,nfh...->nfg...", matrix, fields)
        parts.append(mixed.flatten(1, 2))
    return torch.cat(parts, 1)


def _name_of(element: Element, field_type: FieldType) -> Any:
    """The element as e2cnn writes it.

    Raises:
        ValueError: It is not in the field type's group.
    """
    rotations, flips = _orders(field_type.gspace)
    steps = element.angle * rotations / 360
    if steps % 1 or (element.flip and flips == 1):
        raise ValueError(f"{element}: not an element of {group_of(field_type)}")
    if not rotations:
        # e2cnn counts turns anticlockwise with row 0 at the top.
        turn = -math.radians(element.angle)
        return (int(element.flip), turn) if flips == 2 else turn
    names: Any = field_type.gspace.fibergroup.elements
    return names[-round(steps) % rotations + rotations * element.flip]


def generator(x: Tensor, field_type: FieldType) -> Tensor:
    """How the channels of fields change when they turn, per radian, place by place.

    Of a regular field's cyclic shift by Fourier interpolation over the group, without
    the highest frequency of an even order, whose turns are not determined.

    Args:
        x: (N, C, ...) of fields.
        field_type: What the channels are: regular fields, or any fields of a continuous
            group.

    Returns:
        The same shape.

    Raises:
        ValueError: A field of a finite group is not regular.
    """
    rotations, flips = _orders(field_type.gspace)
    if not rotations:
        step = 1e-5  # radians: an error of 1e-10 relative to the derivative
        turns = [_mix(x, Element(math.degrees(t)), field_type) for t in (step, -step)]
        change: Tensor = (turns[0] - turns[1]) / (2 * step)
        return change
    if any(r.name != "regular" for r in field_type.representations):
        raise ValueError("expected regular fields alone")
    fields = x.unflatten(1, (-1, flips, rotations))
    spectrum = torch.fft.rfft(fields, dim=3)
    frequency = torch.arange(spectrum.shape[3], device=x.device)
    if rotations % 2 == 0:
        frequency[-1] = 0
    factor = (1j * frequency).view(-1, *[1] * (x.ndim - 2)).to(spectrum.dtype)
    turned: Tensor = torch.fft.irfft(spectrum * factor, n=rotations, dim=3)
    return turned.reshape(x.shape)


def in_group(element: Element, group: str | None) -> bool:
    """Whether a group holds a turn; without a group only the turn by 0 degrees."""
    if group is None:
        return element.angle % 360 == 0
    from lensequiv._e2cnn import CONTINUOUS

    if group.lower() in CONTINUOUS:
        return True
    turns = [Element(0.0), *group_elements(group)]
    return Element(element.angle % 360) in turns


def stabilise(
    x: Tensor, angle: float, field_type: FieldType | None = None
) -> tuple[Tensor, Tensor]:
    """Turns feature maps back, so that those of an equivariant network stand still.

    The map is turned by -angle (bilinear interpolation), and the channels of each
    regular field are shifted cyclically by as many group elements as the angle has;
    between two elements by Fourier interpolation over the group. The coefficients of a
    Fourier series (`so2`, `o2`) turn as they do, and its function is sampled at eight
    angles. The first Fourier component of a field over the group turns like a vector,
    and is returned so.

    For pictures: the interpolation is no part of the network's error.

    Args:
        x: (N, C, H, W) maps of a lens that was turned by `angle`, of an odd side.
        angle: As `Element.angle`. *Unit*: degrees.
        field_type: Regular fields, Fourier series, or None for scalars.

    Returns:
        The fields turned back, (N, F, G, H, W) with G channels to each of F fields,
        and their vectors, (N, F, 2, H, W), x and y components where row 0 is at the
        bottom (zeros for scalars).

    Raises:
        ValueError: The side is even, or a field is of another kind.
    """
    from lensequiv.transforms import rotate

    back = rotate(x, -angle, x.shape[-1])
    if field_type is None:
        fields = back.unsqueeze(2)
        return fields, torch.zeros_like(fields).repeat(1, 1, 2, 1, 1)
    rotations, flips = _orders(field_type.gspace)
    if not rotations:
        back = _mix(back, Element(-angle), field_type)
        return _sampled(back, field_type)
    order = rotations * flips
    if any(r.name != "regular" for r in field_type.representations):
        raise ValueError("expected regular fields alone")
    turns = back.unflatten(1, (-1, flips, rotations))
    spectrum = torch.fft.rfft(turns, dim=3)
    frequency = torch.arange(spectrum.shape[3])
    # Element k is a turn by -k 360 / N degrees of the sky, so turning back by the
    # angle is a shift by +angle N / 360 places.
    phase = torch.exp(-1j * torch.deg2rad(frequency * torch.tensor(float(angle))))
    spectrum = spectrum * phase[:, None, None]
    fields = torch.fft.irfft(spectrum, n=rotations, dim=3)
    # Without the mirrored half, which turns the same way.
    vector = spectrum[:, :, 0, 1] if rotations > 2 else torch.zeros_like(back[:, :1])
    vectors = torch.view_as_real(vector.to(torch.complex64)).movedim(-1, 2)
    return fields.reshape(len(x), -1, order, *x.shape[-2:]), vectors


def _sampled(x: Tensor, field_type: FieldType) -> tuple[Tensor, Tensor]:
    """Values and vectors of Fourier series: see `stabilise`.

    Args:
        x: (N, C, H, W) coefficients.
        field_type: What they are of.
    """
    from lensequiv.models.irreps import sampling_matrix

    kinds = {r.name: r for r in field_type.representations}
    kind = next(iter(kinds.values()))
    if len(kinds) > 1 or not kind.name.startswith("fourier_"):
        raise ValueError("expected Fourier series alone")
    fields = x.unflatten(1, (-1, kind.size))
    matrix = sampling_matrix(kind, 8).to(x.device, x.dtype)
    values = torch.einsum("sc,nfchw->nfshw", matrix, fields)
    # The first part of frequency 1, whose y axis is e2cnn's, with row 0 at the top.
    start = 1 if kind.group.name == "SO(2)" else 2
    vectors = fields[:, :, start : start + 2]
    if vectors.shape[2] < 2:
        return values, torch.zeros_like(fields[:, :, :1]).repeat(1, 1, 2, 1, 1)
    return values, torch.stack([vectors[:, :, 0], -vectors[:, :, 1]], 2)
