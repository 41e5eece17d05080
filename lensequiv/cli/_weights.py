"""The weights that a command was given, for images of the size that it was given."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lensequiv.models import LensModel


def add_input_size(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--input-size`."""
    parser.add_argument(
        "--input-size",
        type=int,
        metavar="PIXELS",
        help="side of the central square that the network sees (default: that of its "
        "training), for images that are smaller",
    )


def load(weights: str, input_size: int | None) -> LensModel:
    """Loads weights; for images of another size than they were trained on, if wanted.

    Args:
        weights: Name, folder or `owner/name`.
        input_size: What `--input-size` says.

    Raises:
        ValueError: The network does not take images of this size.
    """
    from lensequiv import from_pretrained

    model = from_pretrained(weights)
    if input_size is not None:
        model.set_input_size(input_size)
    return model
