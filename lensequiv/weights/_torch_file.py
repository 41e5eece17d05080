"""State dicts of `torch.save`, read without running anything the file holds.

Only `torch.load(weights_only=True)` is used. What it refuses is named by listing the
pickle's opcodes, which runs nothing either.
"""

from __future__ import annotations

import io
import pickletools
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from lensequiv.weights._format import WeightsError

__all__ = ["read_state_dict"]

_PREFIX = "module."
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Reads the one state dict in a file, to the CPU wherever it was saved.

    A dictionary around the state dict, as training loops write it, is taken off if
    only one of its values is a state dict; so is the `module.` that `DataParallel` puts
    before every name. Neither can mistake one network for another: names and shapes
    are still all there to be compared.

    Args:
        path: Written by `torch.save`, before or since torch 1.6.

    Returns:
        The tensors by name, and what was taken off, in words.

    Raises:
        OSError: The file cannot be read.
        WeightsError: It is not a file of `torch.save`, is damaged, asks for code to be
            run, or holds no state dict, or several.
    """
    _check_container(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # bytes from outside can make it raise anything
        raise WeightsError(f"{path}: {_explain(path, error)}") from None
    state, notes = _unwrap(path, loaded)
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise WeightsError(
                f"{path}: tensor {name!r} is {tensor.layout} on {tensor.device}; "
                "expected plain numbers"
            )
    if all(name.startswith(_PREFIX) for name in state):
        state = {name.removeprefix(_PREFIX): value for name, value in state.items()}
        notes.append(f"{_PREFIX!r} (DataParallel) taken off every name")
    return state, notes


def _check_container(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise WeightsError(f"{path} is empty")
    if start.startswith(_PICKLE):
        # Before 2.6 torch ran pickles inside tar files in spite of weights_only, and a
        # tar file begins with a name of its author's choice (CVE-2025-32434).
        if _is_tar(path):
            raise WeightsError(f"{path} is a tar file; no torch since 0.1 writes them")
    elif start != _ZIP:
        raise WeightsError(
            f"{path} is not a file of torch.save: it begins with {start!r}"
        )
    else:
        _check_zip(path)


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return True
    except Exception:  # no more can torch open it, which does the same
        return False


def _check_zip(path: Path) -> None:
    """Torch ignores the checksums in its files; a flipped bit would go unseen."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # damaged directories raise whatever they hit upon
        raise WeightsError(f"{path} is cut short or damaged: {error}") from None
    if damaged is not None:
        raise WeightsError(f"{path} is damaged: {damaged} does not fit its checksum")


def _explain(path: Path, error: Exception) -> str:
    """Why torch would not load a file."""
    text = str(error)
    refused = re.search(r"GLOBAL (\S+) (?:was not|whose)", text)
    kind = _kind(path) if refused else "damaged"
    if refused is None or kind == "damaged":
        # Past torch's advice to load with weights_only=False.
        _, _, text = text.rpartition("WeightsUnpickler error: ")
        why = text.strip().split("\n", 1)[0] or type(error).__name__
        return f"cut short, damaged or not a file of torch.save ({why[:200]})"
    if kind == "model":
        return (
            f"a whole model (its class is {refused[1]}), which only its own code can "
            "load, by running what the file says; where that code is, save "
            "model.state_dict() instead"
        )
    return (
        f"asks for {refused[1]}, which could run code; it was refused and nothing was "
        "run. Expected a state dict: names and tensors, nothing else"
    )


def _kind(path: Path) -> str:
    """Lists a refused file's opcodes without running them.

    Returns:
        "damaged" if the pickle has no end, "model" if it names classes of layers, else
        "objects".
    """
    kind = "objects"
    try:
        for name, argument in _opcodes(path):
            texts = "GLOBAL" in name or "UNICODE" in name
            if texts and str(argument).startswith(("torch.nn.modules.", "e2cnn.nn.")):
                kind = "model"
    except Exception:  # as it is damaged, anything
        return "damaged"
    return kind


def _opcodes(path: Path) -> Iterator[tuple[str, Any]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            records = [n for n in archive.namelist() if n.endswith("data.pkl")]
            for record in records:
                yield from _listed(io.BytesIO(archive.read(record)))
        return
    with path.open("rb") as file:
        for _ in range(4):  # magic number, version, system, then the objects
            if file.peek(1):
                yield from _listed(file)


def _listed(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    for opcode, argument, _ in pickletools.genops(file):
        yield opcode.name, argument


def _unwrap(path: Path, loaded: object) -> tuple[dict[str, Tensor], list[str]]:
    if _is_state(loaded):
        return dict(loaded), []  # type: ignore[call-overload]
    if not isinstance(loaded, Mapping):
        raise WeightsError(
            f"{path} holds a {type(loaded).__name__}; expected a state dict"
        )
    inside = [key for key, value in loaded.items() if _is_state(value)]
    if len(inside) == 1:
        return dict(loaded[inside[0]]), [f"state dict taken from key {inside[0]!r}"]
    if inside:
        raise WeightsError(
            f"{path} holds {len(inside)} state dicts, under {inside}; save the one to "
            "convert by itself"
        )
    kinds = {str(key): type(value).__name__ for key, value in loaded.items()}
    shown = ", ".join(f"{key!r}: {kind}" for key, kind in list(kinds.items())[:5])
    raise WeightsError(
        f"{path} holds no state dict, but {{{shown}}}; expected names and tensors"
    )


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )
