"""Simulated lenses after the recipes of the 2021 study (extra `sim`)."""

from lensequiv.simulation._simulate import Simulation, iter_blocks, simulate
from lensequiv.simulation._write import write_class_folders
from lensequiv.simulation.recipes import (
    RECIPES,
    Recipe,
    get_recipe,
    model_f,
    model_j,
)

__all__ = [
    "RECIPES",
    "Recipe",
    "Simulation",
    "get_recipe",
    "iter_blocks",
    "model_f",
    "model_j",
    "simulate",
    "write_class_folders",
]
