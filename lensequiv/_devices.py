"""Where networks compute: what the user asks for, and what this machine has."""

from __future__ import annotations

import torch

__all__ = ["device_name", "is_out_of_memory", "resolve_device"]

_EXPECTED = "expected 'auto', 'cpu', 'cuda', 'cuda:0' and so on, or 'mps'"


def resolve_device(device: str | torch.device) -> torch.device:
    """The device that is meant, after a look whether it works.

    Args:
        device: `"cpu"`, `"cuda"` (the current one), `"cuda:1"` and so on, or `"mps"`,
            also as `torch.device`; or `"auto"`: CUDA where torch finds it, else MPS,
            else the CPU.

    Returns:
        The device, with its number if it is of CUDA.

    Raises:
        ValueError: There is no such device, or it does not work; the message says what
            was asked for, why not, and what there is.
    """
    wanted = _parsed(device)
    if wanted.type == "cpu":
        return wanted
    reason = _missing_cuda(wanted) if wanted.type == "cuda" else _missing_mps()
    if reason is None:
        if wanted == torch.device("cuda"):  # without a number
            wanted = torch.device("cuda", torch.cuda.current_device())
        reason = _failure(wanted)
    if reason is not None:
        raise ValueError(f"device={str(device)!r}: {reason}; there is {_present()}")
    return wanted


def _parsed(device: object) -> torch.device:
    """A device of one of the three kinds, whether it is there or not.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(device, str | torch.device):
        raise ValueError(f"device={device!r:.60}: {_EXPECTED}")
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = torch.device("meta")
    known = wanted.type in ("cpu", "cuda", "mps")
    if not known or (wanted.type != "cuda" and wanted.index not in (None, 0)):
        raise ValueError(
            f"device={str(device)!r:.60}: {_EXPECTED}; there is {_present()}"
        )
    return wanted if wanted.type == "cuda" else torch.device(wanted.type)


def _missing_cuda(wanted: torch.device) -> str | None:
    """Why a device of CUDA is not there, or None."""
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} was built without CUDA"
    try:
        torch.cuda.init()  # says more than `is_available`: no driver, or too old a one
    except (AssertionError, RuntimeError) as error:
        return _first_line(error)
    count = torch.cuda.device_count()
    if wanted.index is not None and wanted.index >= count:
        return f"this machine has {count} CUDA device{'s' * (count != 1)}"
    return None


def _missing_mps() -> str | None:
    """Why MPS is not there, or None."""
    if not torch.backends.mps.is_built():
        return f"torch {torch.__version__} was built without MPS"
    if not torch.backends.mps.is_available():
        return "torch finds no Apple GPU here"
    return None


def _failure(wanted: torch.device) -> str | None:
    """Why a device cannot add two numbers, or None."""
    try:
        torch.ones(1, device=wanted).add(1).item()
    except RuntimeError as error:
        if is_out_of_memory(error):
            return f"too little memory is free ({_first_line(error)})"
        return _first_line(error)
    return None


def _present() -> str:
    """The devices of this machine, for messages."""
    found = ["cpu"]
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        found += [device_name(torch.device("cuda", i)) for i in range(count)]
    if torch.backends.mps.is_available():
        found.append("mps")
    return ", ".join(found)


def device_name(device: torch.device) -> str:
    """A device for people: `cuda:0 (NVIDIA H100 80GB HBM3)`."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the host, has too little memory left."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    words = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(w in str(error) for w in words)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
