"""What is to be measured of a lens: its true quantities, where they are defined."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation.substructure import NoSubstructure, Vortex

__all__ = ["QUANTITIES", "quantities_of"]

QUANTITIES: Mapping[str, str] = {
    "log10_axion_mass_ev": "log10(eV)",
    "log10_substructure_mass_fraction": "",
    "einstein_radius_arcsec": "arcsec",
    "shear": "",
    "subhalos_above_1e9_msun": "",
}
"""What the simulator knows of a lens, with units, in the order of the columns.

- `log10_axion_mass_ev`: of the axions whose vortex it is; defined where the recipe ties
  the vortex's length to their mass (`Vortex.axion_length`).
- `log10_substructure_mass_fraction`: substructure over halo and substructure; defined
  where there is any.
- `einstein_radius_arcsec`: of halo and substructure together, as one point mass.
- `shear`: strength of the external shear.
- `subhalos_above_1e9_msun`: how many subhalos are heavier than 1e9 solar masses;
  defined for classes with subhalos.
"""

_HEAVY = 1e9  # solar masses


def quantities_of(
    recipe: Recipe, label: int, parameters: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The true quantities of lenses of one class.

    Args:
        recipe: That they were drawn from.
        label: Index of their class.
        parameters: Of N lenses, see `Simulation.parameters`.

    Returns:
        (N, 5) float64 in the order of `QUANTITIES`; NaN where one is not defined.
    """
    component = recipe.substructure[recipe.classes[label]]
    substructure = parameters["mass"].sum(1)
    halo = parameters.get("total_mass", np.full(len(substructure), recipe.total_mass))
    whole = halo if recipe.shared_mass else halo + substructure
    theta2 = parameters["theta_e"] ** 2 + parameters["mass_theta2"].sum(1)
    undefined = np.full(len(substructure), np.nan)
    axion, fraction, heavy = undefined, undefined, undefined
    if isinstance(component, Vortex) and component.axion_length is not None:
        last = component.points - 1
        ends = (parameters[name] for name in ("mass_x", "mass_y"))
        length = np.hypot(*(place[:, last] - place[:, 0] for place in ends))
        axion = np.log10(component.axion_length / length)
    if not isinstance(component, NoSubstructure):
        there = substructure > 0
        fraction = np.log10(np.where(there, substructure, np.nan) / whole)
        if not component.straight:
            heavy = (parameters["mass"] > _HEAVY).sum(1).astype(np.float64)
    found = [axion, fraction, np.sqrt(theta2), parameters["shear"], heavy]
    return np.stack(found, 1)
