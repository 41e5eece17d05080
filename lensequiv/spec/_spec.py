"""The record of a network: everything that it is besides its tensors.

One `Spec` travels with a model wherever it goes: into `config.json`, into pickles and
copies, into state dicts, into the plain form. It is read and written here and nowhere
else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lensequiv._checks import check_class_names, check_count
from lensequiv._neutral import neutral
from lensequiv.domain import Domain, check_ranges
from lensequiv.spec._formats import (
    LATER_OPTIONS,
    WITH_MAP,
    WITH_QUANTITIES,
    WITHOUT_MAP,
    migrated,
)
from lensequiv.spec._information import Information, read_information
from lensequiv.spec._json import as_json
from lensequiv.spec._map import MapSpec
from lensequiv.spec._quantities import QuantitiesSpec
from lensequiv.transforms import Preprocessing, preprocessing_from_config

__all__ = ["Spec", "checked_info"]


@dataclass(frozen=True, eq=False)
class Spec:
    """Everything that a network is besides its tensors.

    Every network has a head that tells classes apart: `classes`, `temperature` and the
    class means of `domain` are that head's. It may have another one, which maps the
    substructure: `map` says what its map means; and one that reads quantities off a
    lens, which `quantities` lists. A head of yet another kind will be a field of its
    own, and a new format.

    Attributes:
        model: Name under which `lensequiv.create_model` builds it.
        options: Every keyword of its builder with its value, so that no default in the
            code decides what a stored network is.
        classes: Class names in the order of the logits.
        input_size: Side of the images it was made or trained for, in pixels.
        preprocess: Turns images in any flux unit into the network's input.
        pixel_scale: Of the training images in arcsec per pixel; None if unknown.
        temperature: What logits are divided by before the softmax.
        domain: Where the training images lie; None if that was never measured.
        map: What the map of the substructure means; None if the network draws none, or
            its map was never trained.
        quantities: What the head that tells quantities tells; None if there is none.
        info: What else is known (training data, scores, licence, image statistics) or
            was noted by the user; see `Information`.
    """

    model: str
    options: Mapping[str, Any]
    classes: tuple[str, ...]
    input_size: int
    preprocess: Preprocessing
    pixel_scale: float | None = None
    temperature: float = 1.0
    domain: Domain | None = None
    map: MapSpec | None = None
    quantities: QuantitiesSpec | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks every field that a caller may set.

        Raises:
            ValueError: A value cannot be; the message names the field.
        """
        check_class_names(self.classes, len(self.classes))
        check_count("input_size", self.input_size)
        _check_positive("temperature", self.temperature)
        if self.pixel_scale is not None:
            _check_positive("pixel_scale", self.pixel_scale)
        if self.map is not None and self.pixel_scale is None:
            raise ValueError(
                "'map' has lengths in arcsec, but 'pixel_scale' is not known; expected "
                "the pixel scale of the training images"
            )
        if self.domain is not None:
            found = len(self.domain.embedding.means)
            if found != len(self.classes):
                raise ValueError(
                    f"'domain' is one of {found} classes; expected {len(self.classes)}"
                )

    @property
    def information(self) -> Information:
        """`info`, divided into what lensequiv knows the meaning of and the user's."""
        return read_information(self.info)

    def answers(self) -> dict[str, Any]:
        """What decides, beside tensors, how `predict` answers; JSON-able.

        The part of the record that the plain form takes along, and that a run of
        `predict_to_file` must find unchanged to be gone on with.
        """
        return {
            "model": self.model,
            "classes": list(self.classes),
            "input_size": self.input_size,
            "pixel_scale": self.pixel_scale,
            "preprocess": self.preprocess.to_config(),
            "temperature": self.temperature,
            "domain": None if self.domain is None else self.domain.to_config(),
            **self._further_heads(),
            "image_statistics": self.info.get("image_statistics"),
        }

    def _further_heads(self) -> dict[str, Any]:
        """What the heads besides that of the classes say, by key; JSON-able."""
        heads = {"map": self.map, "quantities": self.quantities}
        return {name: head.to_config() for name, head in heads.items() if head}

    def to_config(self) -> dict[str, Any]:
        """As JSON holds it; the domain's tensors are left out (see `Domain.tensors`).

        Raises:
            ValueError: An option or a piece of information is not JSON-able; the
                message names it.
        """
        options = as_json(self.options, "options")
        version = max(
            WITHOUT_MAP,
            WITH_MAP if self.map is not None else 0,
            WITH_QUANTITIES if self.quantities is not None else 0,
            *(
                since
                for name, (since, value) in LATER_OPTIONS.items()
                if options.get(name, value) != value
            ),
        )
        for name, (since, _) in LATER_OPTIONS.items():
            if since > version:
                options.pop(name, None)
        config = {
            "format": version,
            "model": self.model,
            "options": options,
            "classes": list(self.classes),
            "input_size": self.input_size,
            "pixel_scale": self.pixel_scale,
            "preprocess": as_json(self.preprocess.to_config(), "preprocess"),
        }
        if self.temperature != 1:
            config["temperature"] = self.temperature
        if self.domain is not None:
            config["domain"] = self.domain.to_config()
        config |= self._further_heads()
        return {**config, "info": as_json(self.info, "info")}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], domain_tensors: Mapping[str, Tensor]
    ) -> Spec:
        """Inverse of `to_config` and of `Domain.tensors`.

        Args:
            config: Of this format or an older one; a checksum in it is passed over.
            domain_tensors: Of the domain, by name; empty if there is none.

        Raises:
            ValueError: A key is missing, unknown or of a wrong type, or a value cannot
                be; the message names the key.
        """
        config = migrated(config)
        if "domain" not in config and domain_tensors:
            name = min(domain_tensors)
            raise ValueError(f"there is a tensor {name!r}, but no 'domain'")
        _check_statistics(config["info"])
        return cls(
            model=config["model"],
            options=config["options"],
            classes=tuple(config["classes"]),
            input_size=config["input_size"],
            preprocess=_read(config, "preprocess", preprocessing_from_config),
            pixel_scale=config["pixel_scale"],
            temperature=config["temperature"],
            domain=_read(config, "domain", Domain.from_config, domain_tensors),
            map=_read(config, "map", MapSpec.from_config),
            quantities=_read(config, "quantities", QuantitiesSpec.from_config),
            info=config["info"],
        )


def _read(
    config: Mapping[str, Any], key: str, parse: Callable[..., Any], *more: Any
) -> Any:
    """A part of the config as an object; None if it is not there.

    Raises:
        ValueError: It cannot be; the message names the key.
    """
    if key not in config:
        return None
    try:
        return parse(config[key], *more)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key!r}: {error}") from error


def checked_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what a caller says about weights, as a record holds it.

    Raises:
        ValueError: A value is not JSON-able, or `image_statistics`, by which `predict`
            judges images, is not what it should be; the message names the place.
    """
    made: dict[str, Any] = as_json(info, "info")
    if not isinstance(made, dict):
        raise ValueError(f"info is a {type(info).__name__}; expected a dictionary")
    _check_statistics(made)
    return made


def _check_statistics(info: Mapping[str, Any]) -> None:
    if "image_statistics" in info:
        with neutral():
            check_ranges(info["image_statistics"])


def _check_positive(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{name!r} is {value!r:.60}; expected a positive number")
