"""The formats of `config.json`: its keys, and older ones brought to today's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "FORMAT",
    "JSON_NAMES",
    "LATER_OPTIONS",
    "OPTIONAL",
    "REQUIRED",
    "WITHOUT_MAP",
    "WITH_MAP",
    "WITH_QUANTITIES",
    "migrated",
]

FORMAT = 5
"""The newest of `Spec.to_config`.

A network is written in the oldest format that can hold it, so that older versions read
it: in 5 if an option of `LATER_OPTIONS` needs that, in 4 if it has a head that tells
quantities, in 3 if it has one that maps substructure, else in 2. 1 held the options
that were given, not all, and no pixel scale.
"""
WITH_OWN_NOISE, WITH_QUANTITIES, WITH_MAP, WITHOUT_MAP = 5, 4, 3, 2
LATER_OPTIONS: dict[str, tuple[int, Any]] = {
    "map_fields": (WITH_MAP, 0),
    "own_noise": (WITH_OWN_NOISE, False),
}
"""Options of steerable networks that older formats lack: since which format, and what
they stand for in older ones."""
_STEERABLE = "stem_fields"  # an option that steerable networks alone have

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
    if config["format"] < WITH_MAP:
        known.discard("map")
    if config["format"] < WITH_QUANTITIES:
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
    today["format"] = max(config["format"], WITHOUT_MAP)
    if _STEERABLE in config["options"]:
        later = {
            name: value
            for name, (since, value) in LATER_OPTIONS.items()
            if config["format"] < since
        }
        today["options"] = {**config["options"], **later}
    return today
