"""What the training loops have in common: checkpoints, the clock, diverged losses."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

SAVE_EVERY = 60  # seconds between checkpoints


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """A checkpoint that is either the old one or the new one, never half of one."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def read_checkpoint(path: Path, arguments: dict[str, str]) -> dict[str, Any] | None:
    """The checkpoint of a run, its tensors on the CPU; None if there is none.

    Args:
        path: Of the checkpoint, which holds its run's `arguments`.
        arguments: Of this run, which has to be the same one.

    Raises:
        FileExistsError: One of them differs.
    """
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    for name, value in state["arguments"].items():
        if arguments.get(name) != value:
            raise FileExistsError(
                f"{path} is of a run with {name} {value}, not {arguments.get(name)}: "
                "choose another --out, or give the arguments of that run"
            )
    return state


class Place(NamedTuple):
    """Where in its run a step is.

    Attributes:
        step: Its number, from 0.
        progress: From 0 for the first to 1 for the last.
        share: Of the run, that is done after it.
        last: Whether it is the last.
    """

    step: int
    progress: float
    share: float
    last: bool


def places(
    first: int, *, steps: int, minutes: float | None, began: float
) -> Iterator[Place]:
    """The steps of a run that are left.

    Args:
        first: The step to go on from.
        steps: Of the whole run, if its end is not told by the clock.
        minutes: After which the run ends, or None.
        began: When the run began, by `time.monotonic`; earlier by what it had taken
            before it was broken off.
    """
    for step in itertools.count(first):
        if minutes:
            done = (time.monotonic() - began) / 60 / minutes
            place = Place(step, min(done, 1.0), done, done >= 1)
        else:
            share = (step + 1) / steps
            place = Place(step, step / (steps - 1), share, step + 1 >= steps)
        yield place
        if place.last:
            return


def check_finite(loss: Tensor, step: int, kept: str = "") -> None:
    """Ends a run that has diverged: nothing it would still do is of use.

    Args:
        loss: Of a step.
        step: Its number, from 1.
        kept: Folder of the best weights so far, if they are kept in one.

    Raises:
        ValueError: The loss is NaN or infinite.
    """
    if not bool(torch.isfinite(loss)):
        saved = f"the best weights so far, if any, are in {kept}; " if kept else ""
        raise ValueError(
            f"the loss is {loss.item()} at step {step}: training has diverged; {saved}"
            "try a lower --lr or --precision fp32"
        )
