"""Whether a record fits a network."""

from __future__ import annotations

from lensequiv.models.sizes import InputSizes
from lensequiv.plain import QuantityHead
from lensequiv.spec import QuantitiesSpec
from lensequiv.transforms import Preprocessing

__all__ = ["check_quantities", "check_sides", "neutral_classes"]


def neutral_classes(count: int) -> tuple[str, ...]:
    """`class0`, `class1`, ...: names for classes that nobody has named."""
    return tuple(f"class{i}" for i in range(count))


def check_sides(name: str, sizes: InputSizes, preprocess: Preprocessing) -> None:
    """Requires that a network takes what preprocessing makes, where that is known.

    Args:
        name: Of the network.
        sizes: What it takes.
        preprocess: Of its record.

    Raises:
        ValueError: A side that comes out is none of the network's.
    """
    if not hasattr(preprocess, "to_config"):
        return
    config = preprocess.to_config()
    sides = [config.get("padded", config.get("size")), *config.get("keep", ())]
    for side in sides:
        if side is not None and side not in sizes:
            raise ValueError(
                f"'preprocess': makes images of {side} x {side} pixels; {name} takes "
                f"sides of {sizes}"
            )


def check_quantities(
    name: str, head: QuantityHead | None, spec: QuantitiesSpec | None
) -> None:
    """Requires a record of quantities that belongs to a network's head, or neither.

    Args:
        name: Of the network.
        head: Of the network.
        spec: Of its record.

    Raises:
        ValueError: There is one without the other, or they differ in size.
    """
    if head is None and spec is not None:
        raise ValueError(
            f"'quantities' is of a network that tells quantities; this {name} "
            "has no such head (see LensNetwork.with_quantities)"
        )
    if head is not None and (spec is None or spec.shape != head.shape):
        found = None if spec is None else spec.shape
        raise ValueError(
            f"'quantities' is of a head of {found}; expected one of {head.shape} "
            "(inputs, hidden, components, quantities): see LensNetwork.with_quantities"
        )
