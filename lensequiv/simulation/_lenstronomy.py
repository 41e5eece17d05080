"""A simulated lens as lenstronomy sees it: for checks, and for those who model it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.simulation._simulate import Simulation

__all__ = ["LenstronomyModel", "to_lenstronomy"]


@dataclass(frozen=True)
class LenstronomyModel:
    """The arguments of lenstronomy's `ImageModel` for one lens.

    Attributes:
        lens_models: Names of the lens models: halo, shear, then one for each mass.
        kwargs_lens: Their arguments.
        kwargs_source: Arguments of the source, a `SERSIC_ELLIPSE`. *Unit* of `amp`:
            counts per square arcsec.
        kwargs_psf: Arguments of `PSF`.
        pixels: Side of the image.
        pixel_scale: *Unit*: arcsec/pixel.
        supersampling: Rays per pixel and axis.
        sky: *Unit*: counts/pixel.
    """

    lens_models: list[str]
    kwargs_lens: list[dict[str, float]]
    kwargs_source: list[dict[str, float]]
    kwargs_psf: dict[str, Any]
    pixels: int
    pixel_scale: float
    supersampling: int
    sky: float

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
        from lenstronomy.Util.simulation_util import data_configure_simple

        grid = data_configure_simple(self.pixels, self.pixel_scale, 1, 1)
        model = ImageModel(
            ImageData(**grid),
            PSF(**self.kwargs_psf),
            LensModel(self.lens_models),
            LightModel(["SERSIC_ELLIPSE"]),
            kwargs_numerics={
                "supersampling_factor": self.supersampling,
                "supersampling_convolution": False,
            },
        )
        image = model.image(self.kwargs_lens, self.kwargs_source)
        return np.asarray(image + self.sky)


def to_lenstronomy(simulation: Simulation, index: int) -> LenstronomyModel:
    """Expresses one simulated lens in lenstronomy's terms.

    Args:
        simulation: Simulated lenses.
        index: Which of them.

    Returns:
        The model, which renders the same image.
    """
    p = {name: value[index] for name, value in simulation.parameters.items()}
    recipe = simulation.recipe
    halo = {"theta_E": float(p["theta_e"])}
    if recipe.halo_axis_ratio != 1:
        halo["e1"], halo["e2"] = _ellipticity(p["halo_angle"], recipe.halo_axis_ratio)
    e1, e2 = _ellipticity(p["source_angle"], p["axis_ratio"])
    real = p["mass_theta2"] > 0
    masses = [
        {"theta_E": math.sqrt(theta2), "center_x": float(x), "center_y": float(y)}
        for theta2, x, y in zip(
            p["mass_theta2"][real], p["mass_x"][real], p["mass_y"][real], strict=True
        )
    ]
    return LenstronomyModel(
        lens_models=["SIS" if recipe.halo_axis_ratio == 1 else "SIE", "SHEAR"]
        + ["POINT_MASS"] * len(masses),
        kwargs_lens=[
            halo,
            {
                "gamma1": float(p["shear"] * np.cos(2 * p["shear_angle"])),
                "gamma2": float(p["shear"] * np.sin(2 * p["shear_angle"])),
            },
            *masses,
        ],
        kwargs_source=[
            {
                "amp": float(recipe.amplitude * p["exposure"] / recipe.pixel_scale**2),
                "R_sersic": recipe.effective_radius,
                "n_sersic": recipe.sersic_index,
                "e1": e1,
                "e2": e2,
                "center_x": float(p["source_x"]),
                "center_y": float(p["source_y"]),
            }
        ],
        kwargs_psf={
            "psf_type": "PIXEL",
            "kernel_point_source": _gaussian_psf(
                recipe.psf_sigma / recipe.pixel_scale, recipe.psf_size
            ),
        },
        pixels=recipe.pixels,
        pixel_scale=recipe.pixel_scale,
        supersampling=recipe.supersampling,
        sky=recipe.noise.sky,
    )


def _ellipticity(angle: float, axis_ratio: float) -> tuple[float, float]:
    """The components e1 and e2 of lenstronomy's ellipticity."""
    modulus = (1 - axis_ratio) / (1 + axis_ratio)
    return (
        float(modulus * math.cos(2 * angle)),
        float(modulus * math.sin(2 * angle)),
    )


def _gaussian_psf(sigma: float, size: int) -> NDArray[np.float64]:
    from lensequiv.simulation._physics import gaussian_kernel

    kernel = gaussian_kernel(sigma, size).numpy()
    return np.outer(kernel, kernel)
