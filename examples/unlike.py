"""What surveys hold besides lenses, made from a recipe: for networks to tell it apart.

Lenses of any depth, with the light of galaxies in front, overlap with what is no lens:
statistics of pixels and distances in the embedding of a network that has seen nothing
else then notice neither an empty field nor a galaxy (docs/trust.md). So the network is
shown both (outlier exposure: Hendrycks et al., arXiv:1812.04606): it learns to give
lenses a large sum of exponentiated logits and all else a small one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lensequiv.simulation import LensLight, NoSubstructure, Recipe

NO_LENS = -1  # the label

_FAR = 1000.0  # arcsec: where no light of a source comes from
_LIGHT = 1e-6  # of the mass: the Einstein radius becomes a thousandth


def without_source(recipe: Recipe) -> Recipe:
    """Fields without the lensed source: the galaxy in front, its neighbours, noise."""
    return replace(
        recipe,
        name=f"{recipe.name}-without-source",
        source_radius=(_FAR, _FAR),
        source_square=None,
        substructure=_smooth(recipe),
    )


def without_lens(recipe: Recipe) -> Recipe:
    """Sources seen directly, three times as large, without a galaxy in front."""
    changes: dict[str, Any] = {
        "shear": (0.0, 0.0),
        "effective_radius": 3 * recipe.effective_radius,
        "lights": tuple(x for x in recipe.lights if not isinstance(x, LensLight)),
        "substructure": _smooth(recipe),
    }
    if recipe.einstein_radius is not None:
        changes["einstein_radius"] = (1e-3, 1e-3)
    else:
        changes["total_mass"] = recipe.total_mass * _LIGHT
    if recipe.ring is not None:
        # The ring said how large a pixel is; now it is as if a lens of an arcsec did.
        low, high = recipe.ring
        middle = math.sqrt(low * high)
        changes |= {
            "ring": None,
            "pixel_scale": 1 / middle,
            "spread": {
                **recipe.spread,
                "pixel_scale": (low / middle, high / middle),
            },
        }
    return replace(recipe, name=f"{recipe.name}-without-lens", **changes)


def without_either(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Of each different recipe, by name, one without source and one without lens."""
    return [
        without(recipe)
        for recipe in different(recipes)
        for without in (without_source, without_lens)
    ]


def different(recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes without those whose name is there before."""
    return list({recipe.name: recipe for recipe in recipes}.values())


def which_can_be_scaled(
    prepare: Callable[[Tensor], Tensor], images: Tensor
) -> list[int]:
    """Which images can be preprocessed: empty ones without noise cannot."""
    if _scales(prepare, images):
        return list(range(len(images)))
    return [i for i, image in enumerate(images) if _scales(prepare, image)]


def _scales(prepare: Callable[[Tensor], Tensor], images: Tensor) -> bool:
    try:
        prepare(images)
    except ValueError:
        return False
    return True


def _smooth(recipe: Recipe) -> dict[str, NoSubstructure]:
    return dict.fromkeys(recipe.classes, NoSubstructure())


def unlike_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """How surely lenses are told from what is none.

    Args:
        logits: (N, classes).
        labels: (N,) int64, `NO_LENS` for what is no lens.

    Returns:
        Binary cross-entropy, whose logit is that of the logits' exponentiated sum
        relative to the number of classes.
    """
    lens = torch.logsumexp(logits, 1) - math.log(logits.shape[1])
    return F.binary_cross_entropy_with_logits(lens, (labels != NO_LENS).to(lens))
