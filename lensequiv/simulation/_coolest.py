"""A simulated lens in the COOLEST standard: for those who model it."""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lensequiv.files import write_atomically
from lensequiv.simulation._lenstronomy import LenstronomyModel, to_lenstronomy
from lensequiv.simulation._simulate import Simulation
from lensequiv.simulation.camera import Camera

__all__ = ["write_coolest"]

_GRID = 200  # pixels of a picture of a source
Object = dict[str, Any]


def write_coolest(
    simulation: Simulation, index: int, path: str | os.PathLike[str]
) -> Path:
    """Writes one simulated lens as a COOLEST template (Galan et al. 2023).

    Beside `NAME.json` lie `NAME_image.fits`, `NAME_psf.fits` and, if the source is the
    picture of a galaxy, `NAME_source.fits`. Positions are in arcsec from the centre of
    the frame, y pointing north and x west, position angles from north to east. Light is
    in the images' counts per square arcsec.

    COOLEST has elliptical power laws, external shear and Sersic profiles. It has no
    point masses, no truncated halos, no multipoles, and no light below zero: these are
    left out, and `meta` says how many of what.

    Args:
        simulation: Simulated lenses, on the CPU.
        index: Which of them.
        path: The JSON file; its folder has to exist.

    Returns:
        The path.

    Raises:
        ValueError: The name does not end in .json, or there is no such lens.
        FileNotFoundError: There is no such folder.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise ValueError(f"{path}: expected a name that ends in .json")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    if not 0 <= index < len(simulation):
        raise ValueError(f"index={index}: expected 0 to {len(simulation) - 1}")
    model = to_lenstronomy(simulation, index)
    beside = {
        "image": simulation.images[index].cpu().numpy(),
        "psf": model.kwargs_psf["kernel_point_source"],
    }
    if "INTERPOL" in model.source_models:
        beside["source"] = _picture(model.kwargs_source[0])
    names = {part: f"{path.stem}_{part}.fits" for part in beside}
    content = _template(simulation, index, model, names)
    for part, pixels in beside.items():
        write_atomically(path.parent / names[part], _fits(pixels))
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


def _template(
    simulation: Simulation, index: int, model: LenstronomyModel, names: dict[str, str]
) -> Object:
    """What the JSON file holds."""
    recipe, left_out = simulation.recipe, Counter[str]()
    p = {key: simulation.parameters[key][index] for key in ("z_lens", "z_source")}
    masses = _masses(model, left_out)
    sky, source = (
        _light(kwargs, left_out)
        for kwargs in (model.kwargs_lens_light, model.kwargs_source)
    )
    if "source" in names:
        reach = _GRID / 2 * _step(model.kwargs_source[0])
        x, y = (model.kwargs_source[0][f"center_{axis}"] for axis in "xy")
        grid = _grid(names["source"], _GRID, reach, x, y)
        source.insert(
            0, {"type": "PixelatedRegularGrid", "parameters": {"pixels": grid}}
        )
    left_out["UNLENSED star"] = len(model.kwargs_point_source)
    return {
        "standard": "COOLEST",
        "mode": "MOCK",
        "coordinates_origin": {"ra": "0h0m0.0s", "dec": "0d0m0.0s"},
        "cosmology": {
            "H0": recipe.hubble,
            "Om0": recipe.omega_matter,
            "astropy_name": "FlatLambdaCDM",
        },
        "lensing_entities": [
            _galaxy("lens", p["z_lens"], masses[1:], sky),
            {
                "type": "MassField",
                "name": "external shear",
                "redshift": float(p["z_lens"]),
                "mass_model": masses[:1],
            },
            _galaxy("source", p["z_source"], [], source),
        ],
        "observation": _observation(simulation, index, model, names["image"]),
        "instrument": _instrument(recipe.name, model, names["psf"]),
        "meta": {
            "recipe": recipe.name,
            "seed": simulation.seed,
            "class": simulation.classes[int(simulation.labels[index])],
            "left_out": {name: count for name, count in left_out.items() if count},
        },
    }


def _observation(
    simulation: Simulation, index: int, model: LenstronomyModel, image: str
) -> Object:
    half = model.pixels * model.pixel_scale / 2
    observation: Object = {
        "pixels": _grid(image, model.pixels, half),
        "noise": {"type": None},
    }
    noise = simulation.recipe.noise
    if isinstance(noise, Camera):
        time = simulation.parameters["exposure_time"][index]
        observation["mag_zero_point"] = noise.zero_point
        observation["exposure_time"] = float(time)
    return observation


def _instrument(name: str, model: LenstronomyModel, psf: str) -> Object:
    side = len(model.kwargs_psf["kernel_point_source"])
    return {
        "name": name,
        "pixel_size": model.pixel_scale,
        "psf": {
            "type": "PixelatedPSF",
            "description": "as the image was simulated with",
            "pixels": _grid(psf, side, side * model.pixel_scale / 2),
        },
    }


def _galaxy(name: str, z: float, masses: list[Object], light: list[Object]) -> Object:
    return {
        "type": "Galaxy",
        "name": name,
        "redshift": float(z),
        "mass_model": masses,
        "light_model": light,
    }


def _masses(model: LenstronomyModel, left_out: Counter[str]) -> list[Object]:
    """Shear first, then what COOLEST has of the other deflectors."""
    shear, others = [], []
    for name, given in zip(model.lens_models, model.kwargs_lens, strict=True):
        if name == "SHEAR":
            strength, angle = math.hypot(given["gamma1"], given["gamma2"]), 0.0
            if strength:
                angle = math.atan2(given["gamma2"], given["gamma1"]) / 2
            values = {"gamma_ext": strength, "phi_ext": _from_north(angle)}
            shear.append(_profile("ExternalShear", values))
        elif name in ("SIS", "SIE", "EPL"):
            values = {"theta_E": given["theta_E"], **_shape(given)}
            if name == "EPL":
                values["gamma"] = given["gamma"]
            others.append(_profile("PEMD" if name == "EPL" else "SIE", values))
        else:
            left_out[name] += 1
    return shear + others


def _light(profiles: list[Object], left_out: Counter[str]) -> list[Object]:
    """Sersic profiles."""
    found = []
    for given in profiles:
        if "image" in given:
            continue  # a picture has a file of its own
        if given["amp"] < 0:
            left_out["SERSIC_ELLIPSE below zero"] += 1
            continue
        values = {
            "I_eff": given["amp"],
            "theta_eff": given["R_sersic"],
            "n": given["n_sersic"],
            **_shape(given),
        }
        found.append(_profile("Sersic", values))
    return found


def _profile(kind: str, values: dict[str, float]) -> Object:
    parameters = {
        name: {"point_estimate": {"value": float(value)}}
        for name, value in values.items()
    }
    return {"type": kind, "parameters": parameters}


def _shape(given: Object) -> dict[str, float]:
    """Axis ratio, position angle and centre from lenstronomy's arguments."""
    e1, e2 = given.get("e1", 0.0), given.get("e2", 0.0)
    modulus = math.hypot(e1, e2)
    return {
        "q": (1 - modulus) / (1 + modulus),
        "phi": _from_north(math.atan2(e2, e1) / 2),
        "center_x": given.get("center_x", 0.0),
        "center_y": given.get("center_y", 0.0),
    }


def _from_north(angle: float) -> float:
    """A direction as a position angle in degrees, above -90 and at most 90."""
    degrees = math.degrees(angle) - 90
    return degrees + 180 * math.floor((90 - degrees) / 180)


def _grid(
    name: str, pixels: int, half: float, x: float = 0.0, y: float = 0.0
) -> Object:
    """A square image in a FITS file."""
    return {
        "fits_file": {"path": name},
        "field_of_view_x": [x - half, x + half],
        "field_of_view_y": [y - half, y + half],
        "num_pix_x": pixels,
        "num_pix_y": pixels,
    }


def _step(given: Object) -> float:
    """Pixel of the picture that holds a turned one whole. *Unit*: arcsec."""
    return float(math.sqrt(2) * len(given["image"]) * given["scale"] / _GRID)


def _picture(given: Object) -> NDArray[np.float64]:
    """The picture of a galaxy as it lies on the sky, north up."""
    at = (torch.arange(_GRID, dtype=torch.float64) - (_GRID - 1) / 2) * _step(given)
    cos, sin = math.cos(given["phi_G"]), math.sin(given["phi_G"])
    x, y = at[None, :], at[:, None]
    half = len(given["image"]) * given["scale"] / 2
    grid = torch.stack([x * cos + y * sin, y * cos - x * sin], -1) / half
    image = torch.from_numpy(np.ascontiguousarray(given["image"]))[None, None]
    turned = F.grid_sample(image, grid[None], align_corners=False)[0, 0]
    return np.asarray(turned.numpy() * given["amp"])


def _fits(pixels: NDArray[Any]) -> bytes:
    from astropy.io import fits

    buffer = io.BytesIO()
    fits.PrimaryHDU(np.asarray(pixels, np.float32)).writeto(buffer)
    return buffer.getvalue()
