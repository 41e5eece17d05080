"""What a data set's manifest and a weight's card say about each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lensequiv.data import LabelledImages

__all__ = ["manifest_facts", "remarks", "same_recipe_card"]


def manifest_facts(dataset: LabelledImages) -> dict[str, Any] | None:
    """Recipe (name and version), seed, images and versions of `lensequiv simulate`.

    Returns:
        None where there is no manifest, or one of another form.
    """
    from lensequiv.simulation import recorded_name

    try:
        manifest = json.loads(dataset.manifest())
        return {
            "recipe": recorded_name(manifest["recipe"]),
            "seed": int(manifest["seed"]),
            "images": int(manifest["images"]),
            "versions": {k: str(v) for k, v in manifest["versions"].items()},
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _same_recipe(one: str, other: str | None) -> bool:
    """Whether two recorded names mean one recipe; a missing version is any version."""
    if other is None:
        return False
    (name, _, version), (other_name, _, other_version) = (
        recorded.partition("@") for recorded in (one, other)
    )
    same_version = not version or not other_version or version == other_version
    return name == other_name and same_version


def same_recipe_card(
    info: Mapping[str, Any], manifest: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The card's scores, if they belong to a test set of the same recipe."""
    trained, metrics = info.get("trained_on", {}), info.get("metrics", {})
    if (
        manifest is None
        or "test" not in metrics
        or not _same_recipe(manifest["recipe"], trained.get("recipe"))
    ):
        return None
    return {
        "test": metrics["test"],
        "test_rotated": metrics.get("test_rotated"),
        "seed": trained.get("test", {}).get("seed"),
        "images": metrics["test"].get("images"),
    }


def remarks(
    info: Mapping[str, Any],
    manifest: Mapping[str, Any] | None,
    images: int,
    absent: Sequence[str] = (),
) -> tuple[str, ...]:
    """What to know before the scores are used.

    Args:
        info: The weight's.
        manifest: The data set's.
        images: How many of them were scored.
        absent: Classes of the model that none of them belongs to.

    Returns:
        One sentence each.
    """
    found = []
    if absent:
        found.append(
            f"No image is of the class {' or '.join(absent)}: the scores are those of "
            "the other classes, and not comparable with scores over all."
        )
    if manifest is None:
        found.append("The data set has no manifest: its recipe and seed are not known.")
        return tuple(found)
    if images != manifest["images"]:
        found.append(
            f"{images} of the data set's {manifest['images']} images were scored."
        )
    trained = info.get("trained_on", {})
    recipe = trained.get("recipe")
    if recipe is not None and not _same_recipe(manifest["recipe"], recipe):
        found.append(
            f"The weights were trained on {recipe}; these images are "
            f"{manifest['recipe']}."
        )
    elif recipe is not None:
        uses = {
            "train": "The weights were trained on images of this recipe and seed",
            "val": "Images of this recipe and seed chose the weights among others",
        }
        found += [
            f"{use}: the scores do not hold for new images."
            for split, use in uses.items()
            if trained.get(split, {}).get("seed") == manifest["seed"]
        ]
    return tuple(found)
