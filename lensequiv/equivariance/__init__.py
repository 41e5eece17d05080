"""Equivariance measured: on the pixel grid, at any angle, in the feature space.

* `measure` reports the error of logits, embedding and feature maps on the pixel grid;
  `equivariance_error` gives one quantity's, `assert_equivariant` judges.
* `rotated_lenses` renders lenses at any angle, `orbits` runs a network on them, and
  `Orbits.report()` compares.
* `lie_derivative` reports the error of the smallest turn, layer by layer.
* `orbit_spread` and `project` describe the embeddings; `orbit_maps` and `stabilise`
  turn feature maps back for pictures (`lensequiv.plots`).
"""

from lensequiv.equivariance._elements import (
    Element,
    group_elements,
    stabilise,
    transform,
)
from lensequiv.equivariance._lie import LieReport, LieRow, lie_derivative
from lensequiv.equivariance._maps import OrbitMaps, orbit_maps
from lensequiv.equivariance._measure import (
    TOLERANCES,
    assert_equivariant,
    equivariance_error,
    measure,
)
from lensequiv.equivariance._projection import orbit_spread, project
from lensequiv.equivariance._report import Report, Row
from lensequiv.equivariance._rotated import (
    Orbits,
    RotatedLenses,
    orbits,
    rotated_lenses,
)

__all__ = [
    "TOLERANCES",
    "Element",
    "LieReport",
    "LieRow",
    "OrbitMaps",
    "Orbits",
    "Report",
    "RotatedLenses",
    "Row",
    "assert_equivariant",
    "equivariance_error",
    "group_elements",
    "lie_derivative",
    "measure",
    "orbit_maps",
    "orbit_spread",
    "orbits",
    "project",
    "rotated_lenses",
    "stabilise",
    "transform",
]
