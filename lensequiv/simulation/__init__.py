"""Simulated lenses after the recipes of the 2021 study and others (extra `sim`)."""

from lensequiv.simulation._dataset import SimulatedLenses
from lensequiv.simulation._lenstronomy import LenstronomyModel, to_lenstronomy
from lensequiv.simulation._rerender import render_lenses, without_substructure
from lensequiv.simulation._simulate import Simulation, iter_blocks, simulate
from lensequiv.simulation._write import write_class_folders, write_hdf5
from lensequiv.simulation.noise import (
    CoaddNoise,
    Noise,
    Noiseless,
    PoissonSky,
    ThreefoldNoise,
)
from lensequiv.simulation.recipes import (
    RECIPES,
    Recipe,
    get_recipe,
    model_1,
    model_2,
    model_2_noisy,
    model_3,
    model_3_noisy,
    model_f,
    model_j,
)
from lensequiv.simulation.substructure import (
    NoSubstructure,
    Subhalos,
    Substructure,
    Vortex,
)

__all__ = [
    "RECIPES",
    "CoaddNoise",
    "LenstronomyModel",
    "NoSubstructure",
    "Noise",
    "Noiseless",
    "PoissonSky",
    "Recipe",
    "SimulatedLenses",
    "Simulation",
    "Subhalos",
    "Substructure",
    "ThreefoldNoise",
    "Vortex",
    "get_recipe",
    "iter_blocks",
    "model_1",
    "model_2",
    "model_2_noisy",
    "model_3",
    "model_3_noisy",
    "model_f",
    "model_j",
    "render_lenses",
    "simulate",
    "to_lenstronomy",
    "without_substructure",
    "write_class_folders",
    "write_hdf5",
]
