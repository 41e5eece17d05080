"""Simulated lenses after the recipes of the 2021 study and others (extra `sim`)."""

from lensequiv.simulation._blocks import iter_blocks
from lensequiv.simulation._chunk import LensChunk, heaviest_masses
from lensequiv.simulation._coolest import write_coolest
from lensequiv.simulation._dataset import SimulatedLenses
from lensequiv.simulation._files import load_recipe
from lensequiv.simulation._lenstronomy import LenstronomyModel, to_lenstronomy
from lensequiv.simulation._observe import add_noise
from lensequiv.simulation._quantities import QUANTITIES, quantities_of
from lensequiv.simulation._rerender import render_lenses, without_substructure
from lensequiv.simulation._simulate import Simulation, simulate
from lensequiv.simulation._stream import LensStream
from lensequiv.simulation._write import write_class_folders, write_hdf5
from lensequiv.simulation.blur import Blur, PSFImages
from lensequiv.simulation.camera import Camera
from lensequiv.simulation.deflectors import PowerLaw
from lensequiv.simulation.detector import Detector
from lensequiv.simulation.galaxies import Galaxies
from lensequiv.simulation.halos import Combined, Halos
from lensequiv.simulation.instruments import (
    INSTRUMENTS,
    Instrument,
    get_instrument,
    observed_by,
)
from lensequiv.simulation.lights import Clumps, LensLight, Neighbours
from lensequiv.simulation.noise import (
    BatchNoise,
    CoaddNoise,
    KnownNoise,
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
    recorded_name,
)
from lensequiv.simulation.substructure import (
    NoSubstructure,
    Subhalos,
    Substructure,
    Vortex,
)

__all__ = [
    "INSTRUMENTS",
    "QUANTITIES",
    "RECIPES",
    "BatchNoise",
    "Blur",
    "Camera",
    "Clumps",
    "CoaddNoise",
    "Combined",
    "Detector",
    "Galaxies",
    "Halos",
    "Instrument",
    "KnownNoise",
    "LensChunk",
    "LensLight",
    "LensStream",
    "LenstronomyModel",
    "Neighbours",
    "NoSubstructure",
    "Noise",
    "Noiseless",
    "PSFImages",
    "PoissonSky",
    "PowerLaw",
    "Recipe",
    "SimulatedLenses",
    "Simulation",
    "Subhalos",
    "Substructure",
    "ThreefoldNoise",
    "Vortex",
    "add_noise",
    "get_instrument",
    "get_recipe",
    "heaviest_masses",
    "iter_blocks",
    "load_recipe",
    "model_1",
    "model_2",
    "model_2_noisy",
    "model_3",
    "model_3_noisy",
    "model_f",
    "model_j",
    "observed_by",
    "quantities_of",
    "recorded_name",
    "render_lenses",
    "simulate",
    "to_lenstronomy",
    "without_substructure",
    "write_class_folders",
    "write_coolest",
    "write_hdf5",
]
