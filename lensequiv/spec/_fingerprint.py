"""Which weights these are: one number for files, evaluations and unfinished runs."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from lensequiv.spec._network import Network

__all__ = ["DOMAIN", "fingerprint", "stored_tensors"]

DOMAIN = "domain."
"""Prefix of the domain's tensors among those of a network."""


def stored_tensors(model: Network) -> dict[str, Tensor]:
    """The tensors that `model.safetensors` holds: the network's and its domain's."""
    domain = {} if model.domain is None else model.domain.tensors()
    return {**model.tensors(), **{DOMAIN + k: v for k, v in domain.items()}}


def fingerprint(model: Network) -> str:
    """SHA-256 of the `model.safetensors` that holds these weights in float32.

    For weights as they were loaded it is the checksum on their card and in the
    catalogue.
    """
    from safetensors.torch import save

    copies = {}
    for name, value in stored_tensors(model).items():
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        # Copies, since tensors that share memory cannot be packed.
        copies[name] = value.detach().to("cpu", dtype, copy=True).contiguous()
    return hashlib.sha256(save(copies)).hexdigest()
