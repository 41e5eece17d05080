"""Recipes: every number of a simulated data set, with where it comes from.

Marks, as used throughout the documentation: *code* was read in the original
authors' code, *fit* was recovered by fitting lens models to published original
images, *2nd* was transcribed from the papers by others, *inferred* is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensequiv._suggestions import did_you_mean
from lensequiv.simulation._deeplensesim import (
    MODEL_2_1,
    MODEL_3_1,
    model_1,
    model_2,
    model_2_noisy,
    model_3,
    model_3_noisy,
)
from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation._study2021 import MODEL_J_1, model_f, model_j
from lensequiv.simulation._telescopes import euclid, hst
from lensequiv.simulation._varied import model_f_varied, model_j_varied, wide

__all__ = [
    "RECIPES",
    "Recipe",
    "euclid",
    "get_recipe",
    "hst",
    "model_1",
    "model_2",
    "model_2_noisy",
    "model_3",
    "model_3_noisy",
    "model_f",
    "model_f_varied",
    "model_j",
    "model_j_varied",
    "recorded_name",
    "wide",
]

RECIPES = {
    recipe.name: recipe
    for recipe in (
        model_f,
        model_j,
        model_1,
        model_2,
        model_3,
        model_2_noisy,
        model_3_noisy,
        model_f_varied,
        model_j_varied,
        wide,
        hst,
        euclid,
    )
}
_EARLIER = {recipe.name: recipe for recipe in (MODEL_J_1, MODEL_2_1, MODEL_3_1)}


def get_recipe(recipe: str | Recipe) -> Recipe:
    """Returns a recipe by name, or the recipe itself.

    Args:
        recipe: A name of `RECIPES`; with `@` and a number, that version of it
            (`"modelJ@1"`: what the weights of version 0.1 were trained on); or a
            recipe.

    Raises:
        ValueError: No recipe has this name, or it has no such version.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe in _EARLIER:
        return _EARLIER[recipe]
    name, at, version = recipe.partition("@")
    if name not in RECIPES:
        raise ValueError(
            f"unknown recipe {recipe!r}; {did_you_mean(name, RECIPES)}known are "
            f"{', '.join(RECIPES)}, or pass a lensequiv.simulation.Recipe"
        )
    current = RECIPES[name]
    if at and version != str(current.version):
        earlier = [known for known in _EARLIER if known.startswith(f"{name}@")]
        raise ValueError(
            f"recipe {name!r} has no version {version!r}; known are "
            f"{', '.join([*earlier, f'{name}@{current.version}'])}"
        )
    return current


def recorded_name(described: Mapping[str, Any]) -> str:
    """What cards and evaluations call the recipe of a data set.

    Args:
        described: As `Recipe.describe` returns, and manifests hold under `recipe`.

    Returns:
        The name, for a recipe of this package with its version, `"modelJ@2"`; without
        it where the manifest is older than the versions.
    """
    name, version = str(described["name"]), described.get("version")
    if name not in RECIPES or version is None:
        return name
    return f"{name}@{int(version)}"
