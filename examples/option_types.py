"""Options that several command lines share, and the types of their numbers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from fresh_lenses import RESAMPLED


def number(low: float, high: float = 1e12, whole: bool = False) -> Callable[[str], Any]:
    """A type for argparse: a number within bounds, which are allowed."""

    def parse(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            above = (
                f"of at least {low:g}" if high >= 1e12 else f"from {low:g} to {high:g}"
            )
            raise argparse.ArgumentTypeError(f"{text!r}: expected {kind} {above}")
        return value

    return parse


def whole(low: int) -> Callable[[str], Any]:
    """A type for argparse: a whole number of at least `low`."""
    return number(low, whole=True)


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--precision`; see `precision_on` for `auto`."""
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="default: bf16 on CUDA, fp32 elsewhere, where bf16 can be very slow",
    )


def precision_on(device: torch.device, wanted: str) -> str:
    """The precision `wanted`, or what `auto` stands for on this device.

    Processors without instructions for bf16 emulate it, in twenty times the time.
    """
    if wanted == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    return wanted


def add_resampled_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--resampled`."""
    parser.add_argument(
        "--resampled",
        type=number(0, 1),
        default=RESAMPLED,
        help="share of the simulated lenses that are turned by interpolation; 0 suits "
        f"images without noise (default: {RESAMPLED})",
    )


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options `--plane`, also called `--hdu`, and `--pixel-scale`."""
    parser.add_argument(
        "--plane", "--hdu", help="which image, where files have several: its name"
    )
    parser.add_argument(
        "--pixel-scale",
        type=number(1e-9),
        help="of the images in arcsec, where neither manifest nor header tells it",
    )
