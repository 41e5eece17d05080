"""Recipes from files that users write."""

from __future__ import annotations

import json
import runpy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lensequiv._suggestions import did_you_mean
from lensequiv.simulation import (
    blur,
    camera,
    detector,
    galaxies,
    halos,
    lights,
    noise,
    substructure,
)
from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation.deflectors import PowerLaw
from lensequiv.simulation.recipes import get_recipe

__all__ = ["load_recipe"]

_COMPONENTS: dict[str, Any] = {
    component.__name__: component
    for component in (
        PowerLaw,
        blur.Blur,
        blur.PSFImages,
        camera.Camera,
        galaxies.Galaxies,
        detector.Detector,
        halos.Combined,
        halos.Halos,
        lights.Clumps,
        lights.LensLight,
        lights.Neighbours,
        noise.CoaddNoise,
        noise.Noiseless,
        noise.PoissonSky,
        noise.ThreefoldNoise,
        substructure.NoSubstructure,
        substructure.Subhalos,
        substructure.Vortex,
    )
}


def load_recipe(recipe: str | Path | Recipe) -> Recipe:
    """Returns a recipe by its name, or reads one from a Python or JSON file.

    This is for what people type. Functions that take a recipe take names and recipes
    alone (`get_recipe`), so that no name in a file that came from elsewhere, such as a
    weight's card, makes them execute another.

    A `.py` file is executed and has to define `recipe`, a `Recipe`: name only files
    whose contents you know. A `.json` file holds an object with fields of `Recipe`, and
    `base`, the name of the recipe from which it takes all others::

        {"base": "modelJ", "name": "mine", "pixel_scale": 0.06,
         "substructure": {"no": {"type": "NoSubstructure"},
                          "cdm": {"type": "Halos", "number": 20, "mass": [1e7, 1e10]}}}

    Components are objects that name their `type`; ranges are lists of two numbers.

    Args:
        recipe: A path that ends in `.py` or `.json`, or what `get_recipe` takes.

    Returns:
        The recipe.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The name is unknown, the file is of another kind, or something in it
            is wrong; the message names the file and the field.
    """
    if isinstance(recipe, Recipe) or (
        isinstance(recipe, str) and not Path(recipe).suffix
    ):
        return get_recipe(recipe)
    path = Path(recipe)
    if path.suffix not in (".py", ".json"):
        raise ValueError(f"{path}: expected a recipe in a .py or .json file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".py":
        found = runpy.run_path(str(path)).get("recipe")
        if not isinstance(found, Recipe):
            raise ValueError(
                f"{path}: expected it to define recipe, a lensequiv.simulation.Recipe; "
                f"found {'nothing of this name' if found is None else repr(found)}"
            )
        return found
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("expected an object")
        if "base" not in content:
            raise ValueError("'base' is missing: the recipe to derive this one from")
        base = get_recipe(content.pop("base"))
        _check_names(content, [f.name for f in fields(Recipe)], "recipe")
        return replace(base, **{key: _built(v, key) for key, v in content.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _check_names(found: dict[str, Any], known: list[str], what: str) -> None:
    """Refuses a name that is not known, naming the nearest."""
    for name in found:
        if name not in known:
            raise ValueError(
                f"a {what} has no {name!r}; {did_you_mean(name, known)}known are "
                f"{', '.join(known)}"
            )


def _built(value: Any, name: str) -> Any:
    """Lists as tuples, objects with a type as components."""
    if isinstance(value, list):
        return tuple(_built(part, name) for part in value)
    if not isinstance(value, dict):
        return value
    if "type" not in value:
        return {key: _built(part, key) for key, part in value.items()}
    rest = {key: part for key, part in value.items() if key != "type"}
    _check_names({value["type"]: None}, list(_COMPONENTS), "component type")
    component = _COMPONENTS[value["type"]]
    _check_names(rest, [f.name for f in fields(component)], value["type"])
    return component(**{key: _built(part, key) for key, part in rest.items()})
