"""Models F and J of the 2021 study, re-simulated; marks as in `recipes`."""

from __future__ import annotations

import math
from dataclasses import replace

from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation.noise import PoissonSky
from lensequiv.simulation.substructure import NoSubstructure, Subhalos, Vortex

__all__ = ["MODEL_J_1", "model_f", "model_j"]

model_f = Recipe(
    name="modelF",
    z_lens=(0.5, 0.5),  # code
    z_source=(1.0, 1.0),  # code
    noise=PoissonSky(30.0),  # fit
    axis_ratio=(1.0, 1.0),  # fit
)
"""Model F of the 2021 study (Model A of arXiv:2008.12731), re-simulated."""

MODEL_J_1 = Recipe(
    name="modelJ@1",
    z_lens=(0.4, 0.6),  # 2nd, fit
    z_source=(0.8, 1.2),  # 2nd, fit
    noise=PoissonSky(10.0),  # fit
    axis_ratio=(0.4, 1.0),  # fit
    stored="minmax",
)

model_j = replace(
    MODEL_J_1,
    name="modelJ",
    version=2,
    # Rows of the original files run the other way: row 0 is the top of the sky. (fit)
    shear_angle=(-2 * math.pi, 0.0),
    source_angle=(-2 * math.pi, 0.0),
    substructure={
        "no": NoSubstructure(),
        "sphere": Subhalos(),
        "vort": Vortex(length=(1.0, 4.0), fraction=(0.04, 0.055)),  # fit
    },
)
"""Model J of the 2021 study (Model B of arXiv:2008.12731), re-simulated."""
