"""The record of a network: everything that it is besides its tensors.

One `Spec` travels with a model wherever it goes: into `config.json`, into pickles and
copies, into state dicts, into the plain form. It is read and written here and nowhere
else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lensequiv._checks import check_class_names, check_count
from lensequiv._neutral import neutral
from lensequiv.domain import Domain, check_ranges
from lensequiv.spec._information import Information, read_information
from lensequiv.spec._json import as_json
from lensequiv.spec._map import MapSpec
from lensequiv.spec._quantities import QuantitiesSpec
from lensequiv.transforms import Preprocessing, preprocessing_from_config

__all__ = ["FORMAT", "Spec", "checked_info", "migrated"]

FORMAT = 4
"""The newest of `to_config`, of a network with a head that tells quantities.

A network without one is written in format 3 if it has a head that maps substructure,
else in format 2, so that older versions read it: their steerable networks know no
option `map_fields`, which stands for 0 there. 1 held the options that were given, not
all, and no pixel scale.
"""
_WITH_MAP, _WITHOUT_MAP = 3, 2
_MAP_FIELDS, _STEERABLE = "map_fields", "stem_fields"

# Key -> what its value must be.
REQUIRED: dict[str, type] = {
    "format": int,
    "model": str,
    "options": dict,
    "classes": list,
    "input_size": int,
    "preprocess": dict,
    "info": dict,
}
# Models that were never calibrated have no `domain` and no `temperature`, which is 1;
# format 1 had no pixel scale.
OPTIONAL: dict[str, tuple[type, ...]] = {
    "temperature": (float,),
    "domain": (dict,),
    "pixel_scale": (float, type(None)),
    "map": (dict,),
    "quantities": (dict,),
}
JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


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
        draws = options.get(_MAP_FIELDS, 0) != 0 or self.map is not None
        version = _WITH_MAP if draws else _WITHOUT_MAP
        if self.quantities is not None:
            version = FORMAT
        elif not draws:
            options.pop(_MAP_FIELDS, None)
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
        try:
            preprocess = preprocessing_from_config(config["preprocess"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"'preprocess': {error}") from error
        domain = None
        if "domain" in config:
            try:
                domain = Domain.from_config(config["domain"], domain_tensors)
            except ValueError as error:
                raise ValueError(f"'domain': {error}") from error
        drawn = None
        if "map" in config:
            try:
                drawn = MapSpec.from_config(config["map"])
            except ValueError as error:
                raise ValueError(f"'map': {error}") from error
        told = None
        if "quantities" in config:
            try:
                told = QuantitiesSpec.from_config(config["quantities"])
            except ValueError as error:
                raise ValueError(f"'quantities': {error}") from error
        _check_statistics(config["info"])
        return cls(
            model=config["model"],
            options=config["options"],
            classes=tuple(config["classes"]),
            input_size=config["input_size"],
            preprocess=preprocess,
            pixel_scale=config["pixel_scale"],
            temperature=config["temperature"],
            domain=domain,
            map=drawn,
            quantities=told,
            info=config["info"],
        )


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


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config in today's format.

    Args:
        config: Content of `config.json`, of this or an older format. The keys `sha256`
            and `config_sha256`, which belong to the file, may stand in it.

    Raises:
        ValueError: It is of a newer format, or a key is missing, unknown or of a wrong
            type; the message names it.
    """
    for key, kind in REQUIRED.items():
        if key not in config:
            raise ValueError(f"key {key!r} is missing")
        if type(config[key]) is not kind:
            raise ValueError(
                f"{key!r} is {JSON_NAMES[type(config[key])]}; "
                f"expected {JSON_NAMES[kind]}"
            )
    if config["format"] not in range(1, FORMAT + 1):
        raise ValueError(
            f"format {str(config['format'])[:20]}; this lensequiv reads formats 1 to "
            f"{FORMAT}: a newer one may read it"
        )
    known = {*REQUIRED, *OPTIONAL, "sha256", "config_sha256"}
    if config["format"] == 1:
        known.discard("pixel_scale")
    if config["format"] <= _WITHOUT_MAP:
        known.discard("map")
    if config["format"] <= _WITH_MAP:
        known.discard("quantities")
    if unknown := sorted(set(config) - known):
        raise ValueError(f"unknown key {unknown[0]!a:.200}")
    for key, kinds in OPTIONAL.items():
        if key in config and type(config[key]) not in kinds:
            raise ValueError(
                f"{key!r} is {JSON_NAMES[type(config[key])]}; expected "
                f"{' or '.join(JSON_NAMES[kind] for kind in kinds)}"
            )
    today = {"temperature": 1.0, "pixel_scale": None, **config}
    today["format"] = max(config["format"], _WITHOUT_MAP)
    if config["format"] <= _WITHOUT_MAP and _STEERABLE in config["options"]:
        today["options"] = {**config["options"], _MAP_FIELDS: 0}
    return today


def _check_positive(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{name!r} is {value!r:.60}; expected a positive number")
