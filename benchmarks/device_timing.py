"""Times and memory on whatever device, for gpu.py and gpu_profile.py."""

import platform
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch

from lensequiv.inference import resolve_device

Side = Callable[[], object]

TF32 = {"fp32": False, "tf32": True, "bf16": True}


def find_device(name: str) -> torch.device:
    """The device of a name, as an option of a script.

    Raises:
        SystemExit: The device does not exist, or does not work.
    """
    try:
        return resolve_device(name)
    except ValueError as error:
        raise SystemExit(f"--{error}") from None


def describe(device: torch.device) -> str:
    """The device's name, its memory and the versions that matter."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        text = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, "
        text += f"CUDA {torch.version.cuda}"
    else:
        text = f"{platform.processor() or platform.machine()}, "
        text += f"{torch.get_num_threads()} threads"
    return f"{device}: {text}, torch {torch.__version__}"


@dataclass
class Clock:
    """Medians of repetitions on a device.

    Attributes:
        device: Where the work runs.
        seconds: About how long a measurement takes.
        most: Repetitions at most.
    """

    device: torch.device
    seconds: float = 0.4
    most: int = 50

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def once(self, side: Side) -> float:
        """Seconds of one call, the device's work included."""
        self.wait()
        start = time.perf_counter()
        side()
        self.wait()
        return time.perf_counter() - start

    def median(self, side: Side) -> float:
        """Seconds of a call; on CUDA between events, so that calls may overlap."""
        side()  # the first calls choose algorithms and allocate
        if self.device.type != "cpu":
            side()
        count = max(3, min(self.most, int(self.seconds / max(self.once(side), 1e-6))))
        if self.device.type != "cuda":
            return statistics.median(self.once(side) for _ in range(count))
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        marks[0].record()
        for mark in marks[1:]:
            side()
            mark.record()
        self.wait()
        return 1e-3 * statistics.median(
            one.elapsed_time(other) for one, other in pairwise(marks)
        )

    @contextmanager
    def peak(self) -> Iterator[dict[str, float]]:
        """Most GiB of a card's memory that were allocated meanwhile, as `GiB`."""
        found: dict[str, float] = {}
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        yield found
        if self.device.type == "cuda":
            found["GiB"] = torch.cuda.max_memory_allocated(self.device) / 2**30


class TooLongError(Exception):
    """A measurement took longer than it may."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends a piece of work after so many seconds, by `TooLongError`."""

    def end(*_: object) -> None:
        raise TooLongError(f"took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """`fp32` without TF32, `tf32`, or `bf16` by autocast.

    Autocast keeps no casted weights: what is captured in a graph must cast its own.
    """
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = TF32[name]
    half = name == "bf16"
    try:
        with torch.autocast(device.type, torch.bfloat16, half, cache_enabled=False):
            yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value
