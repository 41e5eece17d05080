"""A simulated lens as lenstronomy sees it: for checks, and for those who model it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lensequiv.plain import gaussian_kernel
from lensequiv.simulation._library import EXTENT, galaxy_library
from lensequiv.simulation._recipe import Recipe
from lensequiv.simulation._rerender import Arrays
from lensequiv.simulation._simulate import Simulation
from lensequiv.simulation.detector import ElectronNoise
from lensequiv.simulation.galaxies import Galaxies

__all__ = ["LenstronomyModel", "to_lenstronomy"]


@dataclass(frozen=True)
class LenstronomyModel:
    """The arguments of lenstronomy's `ImageModel` for one lens.

    Attributes:
        lens_models: Names of the lens models: halo, shear, multipoles, then one for
            each mass.
        kwargs_lens: Their arguments.
        source_models: Names of the source's profiles: `SERSIC_ELLIPSE`, or `INTERPOL`
            for a picture of a galaxy.
        kwargs_source: Their arguments. *Unit* of `amp`: counts per square arcsec.
        kwargs_lens_light: The same of light that is not lensed, each a
            `SERSIC_ELLIPSE`.
        kwargs_point_source: Stars: `ra_image`, `dec_image` (arcsec) and `point_amp`
            (counts), as `UNLENSED` point sources; empty without stars.
        kwargs_psf: Arguments of `PSF`.
        pixels: Side of the image.
        pixel_scale: *Unit*: arcsec/pixel.
        supersampling: Rays per pixel and axis.
        sky: *Unit*: counts/pixel.
    """

    lens_models: list[str]
    kwargs_lens: list[dict[str, float]]
    source_models: list[str]
    kwargs_source: list[dict[str, Any]]
    kwargs_psf: dict[str, Any]
    pixels: int
    pixel_scale: float
    supersampling: int
    sky: float
    kwargs_lens_light: list[dict[str, float]] = field(default_factory=list)
    kwargs_point_source: list[dict[str, Any]] = field(default_factory=list)

    def image(self) -> NDArray[np.float64]:
        """Renders the expected counts with lenstronomy (which has to be installed).

        Returns:
            (pixels, pixels) float64.
        """
        from lenstronomy.Data.imaging_data import ImageData
        from lenstronomy.Data.psf import PSF
        from lenstronomy.ImSim.image_model import ImageModel
        from lenstronomy.LensModel.lens_model import LensModel
        from lenstronomy.LightModel.light_model import LightModel
        from lenstronomy.PointSource.point_source import PointSource
        from lenstronomy.Util.simulation_util import data_configure_simple

        grid = data_configure_simple(self.pixels, self.pixel_scale, 1, 1)
        model = ImageModel(
            ImageData(**grid),
            PSF(**self.kwargs_psf),
            LensModel(self.lens_models),
            LightModel(self.source_models),
            LightModel(["SERSIC_ELLIPSE"] * len(self.kwargs_lens_light)),
            PointSource(["UNLENSED"] * len(self.kwargs_point_source)),
            kwargs_numerics={
                "supersampling_factor": self.supersampling,
                "supersampling_convolution": False,
            },
        )
        image = model.image(
            self.kwargs_lens,
            self.kwargs_source,
            self.kwargs_lens_light,
            self.kwargs_point_source,
        )
        return np.asarray(image + self.sky)


def to_lenstronomy(simulation: Simulation, index: int) -> LenstronomyModel:
    """Expresses one simulated lens in lenstronomy's terms.

    Args:
        simulation: Simulated lenses.
        index: Which of them.

    Returns:
        The model, which renders the same image without noise, but for the background
        gradient and the defects of a `Detector`.
    """
    recipe = simulation.recipe
    p = {name: value[index] for name, value in simulation.parameters.items()}
    scale = float(p.get("pixel_scale", recipe.pixel_scale))
    unit = float(p.get("amplitude", recipe.amplitude) * p["exposure"]) / scale**2
    source = {
        "x": p["source_x"],
        "y": p["source_y"],
        "amplitude": 1.0,
        "radius": p.get("effective_radius", recipe.effective_radius),
        "index": p.get("sersic_index", recipe.sersic_index),
        "axis_ratio": p["axis_ratio"],
        "angle": p["source_angle"],
    }
    clumps = [_sersic(clump, unit) for clump in _places(p, "clump", "amplitude")]
    galaxy = p.get("galaxy_image", -1) >= 0
    first = _picture(recipe, p, unit) if galaxy else _sersic(source, unit)
    lens = _mass_models(recipe, p)
    stars = [
        star for star in _places(p, "star", "flux") if _is_inside(star, recipe, scale)
    ]
    sky = (
        0.0
        if isinstance(recipe.noise, ElectronNoise)
        else p.get("sky", recipe.noise.sky)
    )
    return LenstronomyModel(
        lens_models=[name for name, _ in lens],
        kwargs_lens=[kwargs for _, kwargs in lens],
        source_models=[
            "INTERPOL" if galaxy else "SERSIC_ELLIPSE",
            *["SERSIC_ELLIPSE"] * len(clumps),
        ],
        kwargs_source=[first, *clumps],
        kwargs_lens_light=[
            _sersic(profile, unit) for profile in _places(p, "light", "amplitude")
        ],
        kwargs_point_source=[
            {
                "ra_image": np.array([star["x"]]),
                "dec_image": np.array([star["y"]]),
                "point_amp": np.array([star["flux"] * unit]),
            }
            for star in stars
        ],
        kwargs_psf={
            "psf_type": "PIXEL",
            # lenstronomy shifts a star's kernel within its frame: with a rim of zeros
            # nothing is cut off.
            "kernel_point_source": np.pad(_psf(recipe, p), int(bool(stars))),
        },
        pixels=recipe.pixels,
        pixel_scale=scale,
        supersampling=recipe.supersampling,
        sky=float(sky),
    )


def _places(p: Arrays, name: str, marker: str) -> list[dict[str, Any]]:
    """The used places of a list, as one dictionary each."""
    if f"{name}_{marker}" not in p:
        return []
    lists = {
        key.removeprefix(f"{name}_"): value
        for key, value in p.items()
        if key.startswith(f"{name}_")
    }
    return [
        {key: value[k] for key, value in lists.items()}
        for k in np.flatnonzero(lists[marker])
    ]


def _is_inside(star: dict[str, Any], recipe: Recipe, scale: float) -> bool:
    """Whether a star shines: only those within the frame do, see `add_stars`."""
    edge = (recipe.pixels - 1) / 2 * scale
    return bool(max(abs(star["x"]), abs(star["y"])) < edge)


def _sersic(profile: dict[str, Any], unit: float) -> dict[str, float]:
    """Arguments of a `SERSIC_ELLIPSE`."""
    e1, e2 = _ellipticity(profile["angle"], profile["axis_ratio"])
    return {
        "amp": float(profile["amplitude"]) * unit,
        "R_sersic": float(profile["radius"]),
        "n_sersic": float(profile["index"]),
        "e1": e1,
        "e2": e2,
        "center_x": float(profile["x"]),
        "center_y": float(profile["y"]),
    }


def _picture(recipe: Recipe, p: Arrays, unit: float) -> dict[str, Any]:
    """Arguments of an `INTERPOL`: the galaxy in the place of the Sersic profile."""
    (galaxies,) = (c for c in recipe.lights if isinstance(c, Galaxies))
    image = galaxy_library(galaxies.path)[int(p["galaxy_image"])].double().numpy()
    radius = float(p.get("effective_radius", recipe.effective_radius))
    return {
        "image": image[:: int(p["galaxy_parity"])],
        "amp": float(p["galaxy_amplitude"]) * unit,
        "center_x": float(p["source_x"]),
        "center_y": float(p["source_y"]),
        "phi_G": float(p["galaxy_angle"]),
        "scale": 2 * EXTENT * radius / len(image),
    }


def _mass_models(recipe: Recipe, p: Arrays) -> list[tuple[str, dict[str, float]]]:
    """Names and arguments of everything that deflects."""
    at = {
        "center_x": float(p.get("halo_x", 0.0)),
        "center_y": float(p.get("halo_y", 0)),
    }
    halo = {"theta_E": float(p["theta_e"])}
    ratio = p.get("halo_axis_ratio", recipe.halo_axis_ratio)
    name = "SIS" if ratio == 1 else "SIE"
    if recipe.deflector is not None:
        name, halo = "EPL", halo | {"gamma": float(p["halo_slope"]), **at}
    if name != "SIS":
        halo["e1"], halo["e2"] = _ellipticity(float(p["halo_angle"]), float(ratio))
    shear = {
        "gamma1": float(p["shear"] * np.cos(2 * p["shear_angle"])),
        "gamma2": float(p["shear"] * np.sin(2 * p["shear_angle"])),
    }
    models = [(name, halo), ("SHEAR", shear)]
    for order, key in ((3, "third"), (4, "fourth")):
        if p.get(key, 0.0) != 0:
            strength = float(p[key] * p["theta_e"])
            angle = float(p[f"{key}_angle"])
            models.append(
                ("MULTIPOLE", {"m": order, "a_m": strength, "phi_m": angle, **at})
            )
    return models + [_subhalo(mass) for mass in _places(p, "mass", "theta2")]


def _subhalo(mass: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """One mass of the substructure."""
    theta2 = float(mass["theta2"])
    at = {"center_x": float(mass["x"]), "center_y": float(mass["y"])}
    c = float(mass.get("concentration", 0.0))
    if c == 0:
        return "POINT_MASS", {"theta_E": math.sqrt(theta2), **at}
    scale = float(mass["scale"])
    if c < 0:
        return "SIS", {"theta_E": math.pi / 2 * theta2 / scale, **at}
    # The deflection of the untruncated halo at its scale radius.
    whole = math.log1p(c) - c / (1 + c)
    halo = {"alpha_Rs": theta2 / scale * (1 - math.log(2)) / whole, "Rs": scale, **at}
    if not math.isfinite(mass["truncation"]):
        return "NFW", halo
    return "TNFW", halo | {"r_trunc": float(mass["truncation"]) * scale}


def _ellipticity(angle: float, axis_ratio: float) -> tuple[float, float]:
    """The components e1 and e2 of lenstronomy's ellipticity."""
    modulus = (1 - axis_ratio) / (1 + axis_ratio)
    return (
        float(modulus * math.cos(2 * angle)),
        float(modulus * math.sin(2 * angle)),
    )


def _psf(recipe: Recipe, p: Arrays) -> NDArray[np.float64]:
    """The kernel of the point-spread function."""
    if recipe.blur is not None:
        lens = {
            name: torch.as_tensor(value, dtype=torch.float64)[None]
            for name, value in p.items()
            if name.startswith("psf_")
        }
        return np.asarray(recipe.blur.kernels(lens, recipe.psf_size)[0].numpy())
    # The width is in arcsec at the recipe's pixel scale: it goes with the pixels.
    sigma = float(p.get("psf_sigma", recipe.psf_sigma)) / recipe.pixel_scale
    kernel = gaussian_kernel(sigma, recipe.psf_size // 2).numpy()
    return np.outer(kernel, kernel)
