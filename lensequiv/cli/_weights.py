"""The weights that a command was given, for images of the size that it was given."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from lensequiv.models import LensNetwork

ADVISED = "c8-modelJ"
"""What commands take where no weight is named, as the documentation advises."""


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--device`."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]|mps",
        help="where to compute (default: auto, CUDA if there is any, else MPS, else "
        "the CPU)",
    )


def add_plane(parser: argparse.ArgumentParser) -> None:
    """Adds the options `--plane` and `--hdu`."""
    parser.add_argument(
        "--plane",
        metavar="NAME",
        help="which image, where files have several: the name of an array (NPZ) or "
        "data set (HDF5); of an HDU (FITS) number, name or NAME,VERSION",
    )
    parser.add_argument("--hdu", help="the same, for FITS files alone")


def add_reading(
    parser: argparse.ArgumentParser, told_by: str = "their headers"
) -> None:
    """Adds what says how images are read and go through a network.

    Args:
        parser: Of the command.
        told_by: What says the scale of the images otherwise, for the help.
    """
    add_device(parser)
    parser.add_argument("--batch-size", type=int, default=64)
    add_plane(parser)
    parser.add_argument(
        "--pixel-scale",
        type=float,
        metavar="ARCSEC",
        help=f"of the images, in arcsec per pixel (default: what {told_by} say)",
    )
    parser.add_argument(
        "--resample",
        action="store_true",
        help="bring images of another pixel scale to that of the weights",
    )
    parser.add_argument(
        "--input-size",
        type=int,
        metavar="PIXELS",
        help="side of the central square that the network sees (default: that of its "
        "training), for images that are smaller",
    )


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of `add_reading` say, but for the input size, as keywords.

    Args:
        args: Of the command; `device` as `chosen_device` returns it.
    """
    return {
        "batch_size": args.batch_size,
        "plane": args.plane,
        "hdu": args.hdu,
        "pixel_scale": args.pixel_scale,
        "resample": args.resample,
        "device": args.device,
    }


def chosen_device(device: str, *, float64: bool = False) -> torch.device:
    """What `--device` says; told on the screen if it is not the CPU.

    Args:
        device: What `--device` says.
        float64: Whether double precision is needed, which MPS does not know.

    Raises:
        ValueError: It is not there.
    """
    from lensequiv._devices import device_name, resolve_device

    chosen = resolve_device(device)
    if device == "auto" and float64 and chosen.type == "mps":
        chosen = resolve_device("cpu")
    if chosen.type != "cpu":
        print(f"on {device_name(chosen)}", file=sys.stderr)
    return chosen


def load(weights: str, input_size: int | None) -> LensNetwork:
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
