"""The record of a network as an entry of its state dict.

Code that averages state dicts (`{k: sum(d[k] for d in dicts) / n}`) treats every entry
as numbers. The entry is made so that this does no harm: whole numbers from 0 to 255 in
int16, whose sums do not overflow and whose mean, of equal records, is the record again;
a length that is a power of two, so that records of different models mostly have the
same; and a checksum, so that a mean of different records is noticed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lensequiv.spec._json import as_json
from lensequiv.spec._origin import Origin
from lensequiv.spec._spec import Spec
from lensequiv.transforms import (
    CropAndScale,
    Preprocessing,
    preprocessing_from_config,
)

__all__ = ["Stored", "decoded", "encoded"]

_DIGITS = 64  # of the checksum in front
_SHORTEST = 4096


class Stored:
    """What a state dict's record says.

    Attributes:
        spec: The record.
        origin: Where the weights were loaded from, if they were.
        preprocess_known: False for preprocessing of the user's own, which a state dict
            cannot hold; `spec.preprocess` is then the one given to `decoded`.
    """

    def __init__(self, content: dict[str, Any], own: Spec) -> None:
        tensors = {
            name: torch.from_numpy(
                np.frombuffer(base64.b64decode(data), np.float32).copy().reshape(shape)
            )
            for name, (shape, data) in content["domain"].items()
        }
        config = content["config"]
        self.preprocess_known = config["preprocess"] is not None
        if self.preprocess_known:
            self.spec = Spec.from_config(config, tensors)
        else:
            config["preprocess"] = CropAndScale(config["input_size"]).to_config()
            spec = Spec.from_config(config, tensors)
            self.spec = replace(spec, preprocess=own.preprocess)
        origin = content["origin"]
        self.origin = None if origin is None else Origin(**origin)


def encoded(spec: Spec, origin: Origin | None) -> Tensor:
    """The record as (n,) int16 on the CPU.

    Options that are not JSON-able are left out.

    Raises:
        ValueError: A piece of information is not JSON-able.
    """
    options = {key: value for key, value in spec.options.items() if _is_json(value)}
    known = _is_known(spec.preprocess)
    preprocess = spec.preprocess if known else CropAndScale(spec.input_size)
    config = replace(spec, options=options, preprocess=preprocess).to_config()
    if not known:
        config["preprocess"] = None
    # A folder's path says nothing elsewhere.
    from_afar = origin is not None and origin.source != "folder"
    tensors = {} if spec.domain is None else spec.domain.tensors()
    content = {
        "config": config,
        "origin": asdict(origin) if from_afar and origin else None,
        "domain": {
            name: [
                list(value.shape),
                base64.b64encode(value.detach().cpu().numpy().tobytes()).decode(),
            ]
            for name, value in tensors.items()
        },
    }
    text = json.dumps(content).encode()
    whole = hashlib.sha256(text).hexdigest().encode() + text
    length = max(_SHORTEST, 2 ** (len(whole) - 1).bit_length())
    # From NumPy, as torch's own functions would follow its default device.
    return torch.from_numpy(
        np.frombuffer(whole.ljust(length), np.uint8).astype(np.int16)
    )


def _is_json(value: Any) -> bool:
    try:
        as_json(value, "")
    except ValueError:
        return False
    return True


def _is_known(preprocess: Preprocessing) -> bool:
    """Whether it can be rebuilt from what it says of itself."""
    try:
        preprocessing_from_config(preprocess.to_config())
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def decoded(entry: Tensor, own: Spec) -> Stored | None:
    """Inverse of `encoded`; None if the entry is no longer the record it was.

    Args:
        entry: Of a state dict; of any type, as averaging or casting leaves it.
        own: The record of the model that it is loaded into.

    Raises:
        ValueError: The record is whole, but this version cannot read it.
    """
    if entry.ndim != 1 or entry.is_meta or entry.is_complex():
        return None
    values = entry.detach().cpu().double().round().numpy()
    if not bool(((values >= 0) & (values <= 255)).all()):
        return None
    whole = values.astype(np.uint8).tobytes().rstrip()
    digits, text = whole[:_DIGITS], whole[_DIGITS:]
    if hashlib.sha256(text).hexdigest().encode() != digits:
        return None
    return Stored(json.loads(text), own)
