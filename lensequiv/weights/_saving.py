"""Write a model as a folder that `from_pretrained` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from lensequiv.files import write_atomically
from lensequiv.spec import Network, Spec, checked_info, stored_tensors
from lensequiv.weights._card import model_card
from lensequiv.weights._format import (
    CARD,
    CHECKSUM,
    CONFIG,
    WEIGHTS,
    checksum,
    parsed,
    pending,
)
from lensequiv.weights._tensors import check_values

__all__ = ["save_pretrained"]


def save_pretrained(
    model: Network,
    directory: str | Path,
    *,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `model.safetensors`, `config.json` and `README.md`.

    Only learnable tensors, batch-norm statistics and those of `model.domain` are
    stored, so the files do not depend on the model's mode or device. The config
    carries the checksum of the weights and one of itself. A save over an older model
    that is cut short, even by SIGKILL, leaves a folder that loads either as before or
    as the new model. Two processes that save to one folder at once can leave one that
    is refused.

    Args:
        model: Any lensequiv model.
        directory: Made if needed; an older model in it is replaced.
        info: What is known about these weights, JSON-able; by default what the model
            was loaded with. Keys with a known meaning (`lensequiv.spec.Information`:
            training data, metrics, licence and so on) make the card; any others are
            stored and shown as they are. If the
            weights have changed since they were loaded from a name or from the Hub,
            `started_from` is added, that name and the checksum, and scores are left
            out: give them here.

    Returns:
        The directory.

    Raises:
        FileExistsError: A file of one of the three names is there that no save wrote,
            such as the README of a project.
        NotADirectoryError: `directory` is a file.
        OSError: The folder cannot be written; the message names the file. What it
            held before stays.
        ValueError: The model could not be loaded again: a tensor is not float32 or
            holds NaN, class names are not as many as the logits or not different,
            `preprocess` makes images of a side that the network does not take, layers
            were replaced by hand, the class is not registered, or `info` is not
            JSON-able; the message names what.
    """
    directory = Path(directory)
    _refuse_strangers(directory)
    spec = _spec_to_write(model, info)
    content = _packed(model)
    sha256 = hashlib.sha256(content).hexdigest()
    origin = model.origin
    if origin and origin.source != "folder" and origin.sha256 != sha256:
        start = {"weights": str(origin), "sha256": origin.sha256}
        known = {**spec.info, "started_from": start}
        if info is None:
            known.pop("metrics", None)  # nobody scored these weights
        spec = replace(spec, info=known)
    config: dict[str, Any] = {**spec.to_config(), "sha256": sha256}
    config["info"] = config.pop("info")  # the longest part comes last
    text = json.dumps({**config, CHECKSUM: checksum(config)}, indent=2) + "\n"
    try:
        parsed(text.encode())
    except ValueError as error:
        raise ValueError(
            f"the model's {CONFIG} could not be read: it {error}"
        ) from None
    card = model_card(config)
    directory.mkdir(parents=True, exist_ok=True)
    _replace(directory, content, config["sha256"], text)
    write_atomically(directory / CARD, card.encode())
    return directory


def _refuse_strangers(directory: Path) -> None:
    """Requires that nothing would be overwritten but an older model."""
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; expected a folder")
    config = directory / CONFIG
    # Every version names the checksum, and so does what is left of a damaged config.
    if config.is_file() and b'"sha256"' in config.read_bytes():
        return
    there = [name for name in (CARD, CONFIG, WEIGHTS) if (directory / name).exists()]
    if there:
        raise FileExistsError(
            f"{directory} holds {' and '.join(there)}, but no model of lensequiv; "
            "expected a new or empty folder, since saving would overwrite this"
        )


def _spec_to_write(model: Network, info: Mapping[str, Any] | None) -> Spec:
    """The model's record, after it was checked that the model can be built from it.

    Raises:
        ValueError: It cannot, or `info` is not JSON-able.
    """
    model.check_rebuildable()
    spec = model.spec
    return spec if info is None else replace(spec, info=checked_info(info))


def _packed(model: Network) -> bytes:
    """The content of `model.safetensors`.

    Raises:
        ValueError: A tensor is not float32 (or, counts, int64) or not finite.
    """
    tensors = {}
    for name, value in stored_tensors(model).items():
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ValueError(
                f"tensor {name!r} is {value.dtype}; weights are stored in "
                "torch.float32: call model.float() first"
            )
        tensors[name] = value.detach().cpu().contiguous()
        check_values(name, tensors[name])
    return save(tensors)


def _replace(directory: Path, content: bytes, sha256: str, text: str) -> None:
    """Puts new weights and their config in the place of old ones.

    Two files cannot be replaced at once, so the new weights first get a name made of
    their checksum. Then the new config replaces the old one: at that moment, and not
    before, the folder holds the new model (`read_weights` looks for that name, too).
    At last the weights get their usual name.
    """
    waiting = pending(directory / WEIGHTS, sha256)
    write_atomically(waiting, content)
    try:
        write_atomically(directory / CONFIG, text.encode())
    except BaseException:
        waiting.unlink(missing_ok=True)
        raise
    waiting.replace(directory / WEIGHTS)
    for left in directory.glob(pending(Path(WEIGHTS), "?" * 64).name):
        left.unlink(missing_ok=True)  # by a save that was killed
