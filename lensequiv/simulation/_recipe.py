"""What a recipe is: every number of a simulated data set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from lensequiv._suggestions import did_you_mean
from lensequiv.simulation._checks import check_range
from lensequiv.simulation.blur import PointSpread
from lensequiv.simulation.deflectors import PowerLaw
from lensequiv.simulation.detector import ElectronNoise
from lensequiv.simulation.galaxies import Galaxies
from lensequiv.simulation.halos import Combined, Halos
from lensequiv.simulation.lights import LightComponent
from lensequiv.simulation.noise import Noise
from lensequiv.simulation.substructure import (
    NoSubstructure,
    Range,
    Subhalos,
    Substructure,
    Vortex,
)

__all__ = ["Recipe", "sersic_amplitude"]


SPREAD = (
    "total_mass",
    "amplitude",
    "sky",
    "psf_sigma",
    "pixel_scale",
    "effective_radius",
    "sersic_index",
)
_DISTANCES = ("luminosity", "angular")


def _classes_of_2021() -> Mapping[str, Substructure]:
    return {"no": NoSubstructure(), "sphere": Subhalos(), "vort": Vortex()}


@dataclass(frozen=True)
class Recipe:
    """A simulated data set; a pair of numbers is the range of a uniform draw.

    Derive your own with `dataclasses.replace`::

        replace(model_f, name="mine", noise=PoissonSky(50.0))
        replace(model_f, name="steep", substructure=dict(
            model_f.substructure, sphere=Subhalos(slope=-1.9)))

    Attributes:
        name: What the set is called in files and messages.
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        noise: Sky and noise.
        axis_ratio: Minor over major axis of the source. (fit)
        stored: How `lensequiv simulate` writes images: `"counts"` as they are,
            `"minmax"` each scaled to [0, 1]. (fit)
        substructure: What each class holds, by class name, in the order of labels.
        pixels: Side of the square image. *Unit*: pixels.
        pixel_scale: *Unit*: arcsec/pixel.
        supersampling: Rays per pixel and axis.
        hubble: Hubble constant of the flat LambdaCDM. *Unit*: km/s/Mpc. (code)
        omega_matter: Matter density, dimensionless. (code)
        z_source_convention: Source redshift for which the Einstein radii and the shear
            are stated, if it is not `z_source`; see lenstronomy's argument of this
            name. They are then smaller by the ratio of D_LS / D_S. (fit)
        total_mass: Of the halo, and of the substructure if `shared_mass`. *Unit*:
            solar masses. (code)
        shared_mass: Whether the substructure's mass is taken from the halo. (code)
        halo_axis_ratio: Of the isothermal halo; 1 is the sphere.
        halo_angle: Direction of its major axis. *Unit*: degrees.
        shear: Strength of the external shear, dimensionless. (code, fit)
        shear_angle: Direction of the shear. The original code drew it from
            [0, 2 pi] but used it as degrees, so every ring is stretched along x.
            *Unit*: degrees. (code, fit)
        source_radius: Distance of the source from the axis, direction uniform.
            *Unit*: arcsec. (fit)
        source_square: If given, the range of the source's x and of its y instead.
            *Unit*: arcsec.
        sersic_index: Of the source's light, dimensionless. (fit)
        effective_radius: Of the source's light. *Unit*: arcsec. (fit)
        source_angle: Direction of the source's major axis, drawn like
            `shear_angle`. *Unit*: degrees. (fit)
        amplitude: Source's surface brightness at the effective radius, for an
            exposure of 1. *Unit*: counts/pixel. (fit)
        exposure: What multiplies the light, uniform in its logarithm. *Unit*: s, or
            1 where `amplitude` is in counts already.
        psf_sigma: Of the Gaussian point-spread function. *Unit*: arcsec. (fit)
        psf_size: Side of its kernel. *Unit*: pixels. (fit)
        distances: Which distances turn masses into Einstein radii: `"luminosity"` as in
            the original code (see `docs/simulation.md`), or `"angular"`, which are the
            right ones.
        spread: Factors that are drawn anew for each lens, log-uniform between two
            bounds, by the name of what they multiply: `total_mass`, `amplitude`, `sky`,
            `psf_sigma`, `pixel_scale`, `effective_radius`, `sersic_index`.
        einstein_radius: If given, the Einstein radius of halo and substructure
            together, uniform, in place of `total_mass`. *Unit*: arcsec.
        ring: If given, the Einstein radius of halo and substructure together,
            log-uniform, which sets each lens's pixel scale. *Unit*: pixels.
        deflector: If given, the halo's shape, in place of `halo_axis_ratio` and
            `halo_angle`.
        lights: What shines besides the source's Sersic profile.
        blur: If given, the point-spread functions, in place of `psf_sigma`.
        version: Of a recipe of this package: rises when its images change. An earlier
            one stays available under its name with `@` and its version.
    """

    name: str
    z_lens: Range
    z_source: Range
    noise: Noise
    axis_ratio: Range
    stored: str = "counts"
    substructure: Mapping[str, Substructure] = field(default_factory=_classes_of_2021)
    pixels: int = 150
    pixel_scale: float = 0.05
    supersampling: int = 2
    hubble: float = 70.0
    omega_matter: float = 0.3
    z_source_convention: float | None = None
    total_mass: float = 1e12
    shared_mass: bool = True
    halo_axis_ratio: float = 1.0
    halo_angle: float = 0.0
    shear: Range = (0.0, 0.3)
    shear_angle: Range = (0.0, 2 * math.pi)
    source_radius: Range = (0.0, 0.5)
    source_square: Range | None = None
    sersic_index: float = 1.5
    effective_radius: float = 0.5
    source_angle: Range = (0.0, 2 * math.pi)
    amplitude: float = 104.5
    exposure: Range = (1.0, 1.0)
    psf_sigma: float = 0.086
    psf_size: int = 11
    distances: str = "luminosity"
    spread: Mapping[str, Range] = field(default_factory=dict)
    ring: Range | None = None
    einstein_radius: Range | None = None
    deflector: PowerLaw | None = None
    lights: tuple[LightComponent, ...] = ()
    blur: PointSpread | None = None
    version: int = 1

    def __post_init__(self) -> None:
        """Checks what would otherwise surface far from its cause.

        Raises:
            ValueError: No class, an unknown `stored`, an even `psf_size`, or a size
                or ratio out of range.
        """
        object.__setattr__(self, "substructure", dict(self.substructure))
        if not self.substructure:
            raise ValueError("substructure is empty: expected at least one class")
        for name in self.substructure:
            if not name or name.startswith(".") or "/" in name or "\\" in name:
                raise ValueError(
                    f"class {name!r} cannot name a folder: expected letters and digits"
                )
        if self.stored not in ("counts", "minmax"):
            raise ValueError(f"stored={self.stored!r}: expected 'counts' or 'minmax'")
        if self.psf_size < 1 or self.psf_size % 2 == 0:
            raise ValueError(f"psf_size={self.psf_size}: expected an odd number")
        if not 0 < self.halo_axis_ratio <= 1:
            raise ValueError(
                f"halo_axis_ratio={self.halo_axis_ratio}: expected above 0, at most 1"
            )
        for name in ("pixels", "pixel_scale", "supersampling", "psf_sigma"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"{name}={getattr(self, name)}: expected a positive number"
                )
        if self.distances not in _DISTANCES:
            raise ValueError(
                f"distances={self.distances!r}: expected one of {', '.join(_DISTANCES)}"
            )
        object.__setattr__(self, "spread", dict(self.spread))
        for name, bounds in self.spread.items():
            if name not in SPREAD:
                raise ValueError(
                    f"spread of {name!r}: nothing of this name is drawn lens by lens; "
                    f"{did_you_mean(name, SPREAD)}known are {', '.join(SPREAD)}"
                )
            check_range(f"spread of {name!r}", bounds, 1e-6, 1e6)
        for name, lowest in (("ring", 0.1), ("einstein_radius", 1e-3)):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), lowest, 1e4)
        if self.psf_size > self.pixels:
            raise ValueError(
                f"psf_size={self.psf_size}: the point-spread function is larger than "
                f"the frame of {self.pixels} pixels"
            )
        if sum(isinstance(component, Galaxies) for component in self.lights) > 1:
            raise ValueError("lights has two Galaxies: expected at most one")
        object.__setattr__(self, "lights", tuple(self.lights))
        if not 0 < self.exposure[0] <= self.exposure[1]:
            raise ValueError(f"exposure={self.exposure}: expected 0 < low <= high")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of their labels."""
        return tuple(self.substructure)

    @property
    def is_plain(self) -> bool:
        """Whether all lenses share what the study's sets share."""
        return not (
            self.spread
            or self.deflector
            or self.ring
            or self.einstein_radius
            or self.lights
            or self.blur
            or self.distances != "luminosity"
            or isinstance(self.noise, ElectronNoise)
            or any(isinstance(c, Halos | Combined) for c in self.substructure.values())
        )

    def describe(self) -> dict[str, Any]:
        """All numbers as plain types for JSON, components with their type's name."""
        described: dict[str, Any] = _described(self)
        del described["type"]
        return described


def _described(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        found = {f.name: _described(getattr(value, f.name)) for f in fields(value)}
        return found | {"type": type(value).__name__}
    if isinstance(value, Mapping):
        return {key: _described(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_described(part) for part in value)
    return value


def sersic_amplitude(
    magnitude: float, zero_point: float, index: float, radius: float, scale: float
) -> float:
    """Surface brightness at the effective radius of a Sersic profile.

    The total light is 2 pi n R^2 e^b b^(-2n) Gamma(2n) times that brightness (Graham
    & Driver 2005, eq. 4), with lenstronomy's b_n = 1.9992 n - 0.3271.

    Args:
        magnitude: Of all the light.
        zero_point: Magnitude of 1 count per second.
        index: Sersic index n.
        radius: Effective radius R. *Unit*: arcsec.
        scale: *Unit*: arcsec/pixel.

    Returns:
        *Unit*: counts/pixel/s.
    """
    b = 1.9992 * index - 0.3271
    shape = index * math.exp(b) * math.pow(b, -2 * index) * math.gamma(2 * index)
    light = math.pow(10, 0.4 * (zero_point - magnitude))
    return light / (2 * math.pi * radius**2 * shape) * scale**2
