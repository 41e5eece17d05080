"""Errors on the pixel grid: measured and judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lensequiv.equivariance._elements import (
    Element,
    group_elements,
    group_of,
    transform,
)
from lensequiv.equivariance._quantities import (
    evaluate,
    layer_types,
    ready_input,
    ready_network,
)
from lensequiv.equivariance._report import Report, error_row
from lensequiv.inference._source import ImagesOrPaths
from lensequiv.models import LensNetwork

if TYPE_CHECKING:
    from lensequiv._e2cnn import FieldType

__all__ = [
    "TOLERANCES",
    "assert_equivariant",
    "equivariance_error",
    "measure",
]

TOLERANCES = {torch.float64: 1e-13, torch.float32: 1e-5}
"""What rounding may cost. Measured on the zoo's networks: up to 6e-15 and 2.3e-6."""


def measure(
    model: nn.Module,
    images: ImagesOrPaths,
    *,
    layers: Sequence[str] | None = None,
    group: str | None = None,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    dtype: torch.dtype | None = None,
    batch_size: int = 8,
    plane: int | str | None = None,
    hdu: int | str | None = None,
    device: str | torch.device | None = None,
) -> Report:
    """Measures how far a network is from equivariant on the pixel grid.

    For each element g of the group that moves pixels onto pixels (turns by multiples of
    90 degrees; for D groups mirror images, too) the quantity of the moved image is
    compared with the moved quantity of the image::

        error(q, g) = sqrt(mean_n |q(g x_n) - rho(g) q(x_n)|^2 / mean_n |q(x_n)|^2)

    Feature maps are moved by the turn of the plane and by the representation of their
    field type (a permutation of each regular field's channels); logits and embedding
    should not move at all. An equivariant network leaves rounding: some 1e-7 in float32
    and 1e-16 in float64. A network that ignores its input is equivariant, too: see
    `orbit_spread` for a measure that notices.

    Angles off the pixel grid need `measure_rotated`.

    Args:
        model: A lensequiv model: then logits, embedding and layers are measured. Or any
            module from (N, C, H, W) to one tensor: then its `"output"`.
        images: For a lensequiv model as for `predict`, preprocessed here before they
            are moved; for another module its input, (N, C, H, W).
        layers: Submodules whose maps are measured; those of `model.field_types()` if
            None, none if empty.
        group: Group whose elements are applied. If None: the model's own; the turns by
            90 degrees (`"c4"`) for a network without. For a larger group than the
            model's own (what do flips do to `c8`?) leave out its fields: `layers=()`.
        in_type: Of another module than a lensequiv model: what its input's channels
            are. If None its attribute `in_type`; without, scalars.
        out_type: The same for its output.
        dtype: In which to compute, on a copy of the model: float32 or float64. The
            model's own if None.
        batch_size: Images that go through the network at once.
        plane: Which image, where files have several; see `lensequiv.data.read_image`.
        hdu: The same for FITS files, in their own word.
        device: Where to compute, on a copy of the model; see `lensequiv.predict`. Where
            the model is if None.

    Returns:
        A row for each quantity and element.

    Raises:
        ValueError: An image or layer does not fit the model, or a group does not fit
            the fields, or the device is not there or cannot compute in `dtype`.
    """
    network = ready_network(model, dtype, device)
    x = ready_input(network, images, plane, hdu)
    if isinstance(model, LensNetwork):
        types = layer_types(model, layers)
    else:
        in_type = in_type or getattr(model, "in_type", None)
        out_type = out_type or getattr(model, "out_type", None)
        types = {"output": out_type}
    own = getattr(model, "group", None)
    if own is None and (found := out_type or in_type) is not None:
        own = group_of(found)
    elements = [e for e in group_elements(group or own or "c4") if e.on_grid]
    if not elements:
        raise ValueError(
            f"group {group or own!r} has no element that moves pixels onto pixels"
        )
    first = evaluate(network, x, types, batch_size)
    rows = []
    for element in elements:
        moved = evaluate(network, transform(x, element, in_type), types, batch_size)
        for quantity, value in first.items():
            field_type = types.get(quantity)
            expected = value
            if value.ndim == 4 or field_type is not None:
                expected = transform(value, element, field_type)
            rows.append(error_row(quantity, element, moved[quantity], expected))
    rows.sort(key=lambda row: list(first).index(row.quantity))
    return Report(
        model=_name(model),
        group=own,
        kind="pixel grid",
        images=len(x),
        dtype=str(x.dtype).removeprefix("torch."),
        rows=tuple(rows),
    )


def equivariance_error(
    model: nn.Module,
    images: ImagesOrPaths,
    *,
    quantity: str | None = None,
    **options: Any,
) -> dict[Element, float]:
    """The error of one quantity for each element on the pixel grid.

    Args:
        model: See `measure`.
        images: See `measure`.
        quantity: `"logits"`, `"embedding"`, `"output"` or a layer's name. If None the
            logits of a lensequiv model, the output of another module.
        **options: See `measure`.

    Returns:
        The error of the image that deviates most (`Row.largest`), by element.

    Raises:
        ValueError: See `measure`; or the quantity was not measured.
    """
    if quantity is None:
        quantity = "logits" if isinstance(model, LensNetwork) else "output"
    rows = measure(model, images, **options).of(quantity)
    return {row.element: row.largest for row in rows}


def assert_equivariant(
    model: nn.Module,
    images: ImagesOrPaths,
    *,
    tolerance: float | None = None,
    **options: Any,
) -> Report:
    """Raises unless every quantity is equivariant under every element.

    Args:
        model: See `measure`.
        images: See `measure`.
        tolerance: Largest `Row.largest` allowed; if None that of `TOLERANCES` for the
            dtype in which the network computes, which has to be float32 or float64.
        **options: See `measure`.

    Returns:
        What was measured.

    Raises:
        AssertionError: An error is above the tolerance. The message names the worst
            quantity and element.
        ValueError: See `measure`.
    """
    report = measure(model, images, **options)
    if tolerance is None:
        tolerance = TOLERANCES[getattr(torch, report.dtype)]
    worst = report.worst()
    if not worst.largest <= tolerance:
        raise AssertionError(
            f"{report.model} is not equivariant: {worst.quantity} under "
            f"'{worst.element}' deviates by {worst.largest:.2g} of its scale; expected "
            f"at most {tolerance:g}\n{report.table()}"
        )
    return report


def _name(model: nn.Module) -> str:
    return model.name if isinstance(model, LensNetwork) else type(model).__name__
