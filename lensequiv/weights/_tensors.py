"""The tensors of a weight: read after their checksum, and checked one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lensequiv.weights._format import CONFIG, WeightsError, pending, short

__all__ = ["check_all_values", "check_tensors", "check_values", "read_weights"]

_MAX_WEIGHTS = 2**32  # bytes; those of the 2021 D8 network take 17 million
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_weights(path: Path, expected_sha256: str) -> dict[str, Tensor]:
    """Reads a safetensors file after comparing its checksum.

    Where a save was cut short after the config was written, the weights still have
    the name that `pending` gives; they are read from there.

    Raises:
        FileNotFoundError: There is none.
        WeightsError: Checksum, file structure or a value (NaN, infinity, a negative
            variance) is wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    waiting = pending(path, expected_sha256)
    if not path.is_file() and not waiting.is_file():
        raise FileNotFoundError(f"{path} does not exist; it belongs beside {CONFIG}")
    content, found = _content(path)
    if found != expected_sha256 and waiting.is_file():
        content, found = _content(waiting)
    if found != expected_sha256:
        raise WeightsError(
            f"{path}: its sha256 is {found}, expected {expected_sha256}: the file was "
            "changed or damaged, or belongs to another config; fetch it again"
        )
    try:
        tensors: dict[str, Tensor] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is not a safetensors file: {short(error)}"
        ) from None
    check_all_values(tensors, path)
    return tensors


def _content(path: Path) -> tuple[bytes, str]:
    """A file and its SHA-256, of the same moment; empty if it does not exist."""
    if not path.is_file():
        return b"", "that of no file"
    size = path.stat().st_size
    if size > _MAX_WEIGHTS:
        raise WeightsError(f"{path} has {size} bytes; expected at most {_MAX_WEIGHTS}")
    content = path.read_bytes()
    return content, hashlib.sha256(content).hexdigest()


def check_values(name: str, tensor: Tensor) -> None:
    """Requires values that a network can compute with.

    Args:
        name: Of the tensor, in the state dict.
        tensor: Any.

    Raises:
        ValueError: A value is NaN or infinite, or a variance or count negative.
    """
    if tensor.dtype not in (*_FLOATS, torch.int64):
        found = f"tensor {short(name)} is {tensor.dtype}"
        raise ValueError(f"{found}; expected torch.float32 or torch.int64")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"tensor {short(name)} has NaN or infinite values")
    if name.endswith(("running_var", "num_batches_tracked")) and bool(
        (tensor < 0).any()
    ):
        raise ValueError(f"tensor {short(name)} has negative values")


def check_all_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    """`check_values` of every tensor in a file.

    Raises:
        WeightsError: Naming the first tensor that has others.
    """
    for name, tensor in tensors.items():
        try:
            check_values(name, tensor)
        except ValueError as error:
            raise WeightsError(f"{path}: {error}") from None


def check_tensors(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> None:
    """Requires the same names, shapes and dtypes.

    Raises:
        WeightsError: Naming the first tensor that differs.
    """
    if missing := sorted(set(expected) - set(found)):
        raise WeightsError(f"{path}: tensor {missing[0]!r} is missing")
    if unexpected := sorted(set(found) - set(expected)):
        raise WeightsError(f"{path}: unexpected tensor {short(unexpected[0])}")
    for name, tensor in found.items():
        have = f"{tuple(tensor.shape)} {tensor.dtype}"
        want = f"{tuple(expected[name].shape)} {expected[name].dtype}"
        if have != want:
            raise WeightsError(f"{path}: tensor {name!r} is {have}; expected {want}")
