"""Tensors and record of a network together, in state dicts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from lensequiv.models._attributes import RecordAttributes
from lensequiv.models._heads import attach_heads
from lensequiv.spec import Spec
from lensequiv.spec._state import decoded, encoded

__all__ = ["STATE_KEY", "Recorded"]

STATE_KEY = "_extra_state"
"""torch's name for what a state dict holds besides parameters and buffers."""

# What differs without making another network: torch compares names and shapes of the
# tensors that most of these decide, and dropout acts in training alone.
_FREE_OPTIONS = ("num_classes", "in_channels", "dropout", "map_fields")


class Recorded(RecordAttributes):
    """A network whose state dict carries its record."""

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the network by name: its state dict without the record."""
        state = {
            name: value.detach()
            for name, value in (*self._parameters.items(), *self._buffers.items())
            if value is not None and name not in self._non_persistent_buffers_set
        }
        for name, child in self._modules.items():
            if child is not None:
                state |= child.state_dict(prefix=f"{name}.")
        return state

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the tensors that `tensors` gave, all of them; the record stays.

        Raises:
            RuntimeError: A name or shape differs.
        """
        self.load_state_dict({**tensors, STATE_KEY: None}, strict=True)

    def get_extra_state(self) -> Tensor:
        """The record, for `state_dict`: (n,) int16 on the CPU."""
        return encoded(self._spec, self._origin)

    def set_extra_state(self, state: Any) -> None:
        """Does nothing: `_load_from_state_dict` has taken the record before."""

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        key = prefix + STATE_KEY
        if key not in state_dict:
            self._warn(f"has no {key!r} (an older version saved it, or keys were left")
        elif state_dict[key] is not None:
            self._take(state_dict, prefix)
        super()._load_from_state_dict(
            state_dict,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )
        if key in missing_keys:
            missing_keys.remove(key)

    def _take(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Takes the record of a state dict, or of a body the part that is the body's.

        A head that tells quantities comes with the record: it is no option.

        Raises:
            RuntimeError: It is that of another network.
        """
        key = prefix + STATE_KEY
        try:
            stored = decoded(state_dict[key], self._spec)
        except ValueError as error:
            raise RuntimeError(
                f"state dict for {self.name}: {key!r}: {error}"
            ) from None
        if stored is None:
            self._warn(f"has a damaged {key!r} (state dicts were averaged, perhaps")
            return
        spec, ours = stored.spec, self._spec
        self._check_same_network(spec, key)
        if not stored.preprocess_known:
            self._warn("comes from a model with preprocessing of its user's own (")
        whole = all(
            prefix + name in state_dict and state_dict[prefix + name].shape == t.shape
            for name, t in self.tensors().items()
        )
        if whole and len(spec.classes) == self.num_classes:
            told_too = any(k.startswith(f"{prefix}quantity_head.") for k in state_dict)
            if told_too and self.quantity_head is None:
                attach_heads(self, spec)
            drawn = None if self.map_head is None else spec.map
            told = None
            if self.quantity_head is not None:
                told = spec.quantities or ours.quantities
            spec = replace(spec, model=ours.model, options=ours.options)
            self._set(replace(spec, map=drawn, quantities=told))
            self._origin = stored.origin
        elif any(prefix + name in state_dict for name in self._head_names()):
            if any(prefix + name not in state_dict for name in self.tensors()):
                self._warn("lacks tensors (of another network, or left out")
        else:  # of a body, which gets another head
            self._set(
                replace(
                    ours,
                    input_size=spec.input_size,
                    preprocess=spec.preprocess,
                    pixel_scale=spec.pixel_scale,
                )
            )

    def _head_names(self) -> list[str]:
        return [name for name in self.tensors() if name.startswith("head.")]

    def _check_same_network(self, spec: Spec, key: str) -> None:
        ours = self._spec
        theirs, own = dict(spec.options), dict(ours.options)
        differing = [
            name
            for name in theirs.keys() & own.keys() - set(_FREE_OPTIONS)
            if theirs[name] != own[name]
        ]
        if spec.model != ours.model or differing:
            found = "".join(f", {name}={theirs[name]!r}" for name in sorted(differing))
            wanted = "".join(f", {name}={own[name]!r}" for name in sorted(differing))
            raise RuntimeError(
                f"state dict of the network {spec.model}{found}; expected one of "
                f"{ours.model}{wanted}. Tensors of equal names and shapes do not make "
                f"it the same network; to load them nevertheless, delete {key!r} from "
                "the state dict"
            )

    def _warn(self, what: str) -> None:
        warnings.warn(
            f"state dict for {self.name} {what}): tensors are loaded, but classes "
            f"{', '.join(self.classes[:4])}, input size {self.input_size}, "
            "preprocessing, pixel scale, temperature and domain stay those of this "
            "model",
            stacklevel=2,
        )
