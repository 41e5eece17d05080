"""What a data set's manifest and a weight's card say about each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lensequiv.data import LabelledImages

__all__ = ["manifest_facts", "remarks", "same_recipe_card"]


def manifest_facts(dataset: LabelledImages) -> dict[str, Any] | None:
    """Recipe (its name), seed, images and versions, as `lensequiv simulate` wrote them.

    Returns:
        None where there is no manifest, or one of another form.
    """
    try:
        manifest = json.loads(dataset.manifest())
        return {
            "recipe": str(manifest["recipe"]["name"]),
            "seed": int(manifest["seed"]),
            "images": int(manifest["images"]),
            "versions": {k: str(v) for k, v in manifest["versions"].items()},
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def same_recipe_card(
    info: Mapping[str, Any], manifest: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The card's scores, if they belong to a test set of the same recipe."""
    trained, metrics = info.get("trained_on", {}), info.get("metrics", {})
    if (
        manifest is None
        or "test" not in metrics
        or manifest["recipe"] != trained.get("recipe")
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
    if recipe is not None and recipe != manifest["recipe"]:
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
