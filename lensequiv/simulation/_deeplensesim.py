"""DeepLenseSim's Models I to III, re-simulated; marks as in `recipes`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lensequiv.simulation._recipe import Recipe, sersic_amplitude
from lensequiv.simulation.noise import CoaddNoise, Noiseless, ThreefoldNoise
from lensequiv.simulation.substructure import NoSubstructure, Subhalos, Vortex

__all__ = [
    "MODEL_2_1",
    "MODEL_3_1",
    "model_1",
    "model_2",
    "model_2_noisy",
    "model_3",
    "model_3_noisy",
]

# Their ellipticity e1 = 0.1 as an axis ratio, and e1 = -0.1, e2 = 0.1 as a ratio and
# a direction: q = (1 - e) / (1 + e), 2 phi = atan2(e2, e1). (code)
_HALO_Q = (1 - 0.1) / (1 + 0.1)
_SOURCE_Q = (1 - math.hypot(0.1, 0.1)) / (1 + math.hypot(0.1, 0.1))
_SOURCE_ANGLE = math.degrees(math.atan2(0.1, -0.1)) / 2
_FWHM = math.sqrt(8 * math.log(2))

# A vortex of axions of mass m reaches 0.03e-22 eV / m arcsec to both sides, and
# log10(m / eV) is uniform from -24 to -22. (code)
_AXION_LENGTH, _AXION_PRODUCT = (0.06, 6.0), 0.06e-22

_deeplensesim: dict[str, Any] = {
    "z_lens": (0.5, 0.5),  # code
    "z_source": (1.0, 1.0),  # code
    "axis_ratio": (_SOURCE_Q, _SOURCE_Q),  # code
    "source_angle": (_SOURCE_ANGLE, _SOURCE_ANGLE),  # code
    "substructure": {
        "no": NoSubstructure(),
        # Their code draws a Poisson number and then does not use it. (code)
        "sphere": Subhalos(25, poisson=False, radius=(0.25, 2.0)),
        "vort": Vortex(
            sigma=0.0,
            length=_AXION_LENGTH,
            log_length=True,
            fraction=(0.03, 0.03),
            axion_length=_AXION_PRODUCT,
        ),
    },
    "supersampling": 1,  # code
    "shared_mass": False,  # code: the halo keeps its mass
    "halo_axis_ratio": _HALO_Q,  # code
    "shear": (0.05, 0.05),  # code
    "shear_angle": (0.0, 0.0),  # code
    "source_square": (-0.35, 0.35),  # code
    "sersic_index": 1.0,  # code
    "effective_radius": 0.25,  # code
}

model_1 = Recipe(
    name="deeplensesim1",
    noise=ThreefoldNoise(1e-2),  # code
    # 20 per square arcsec and second (code; the area: inferred, since 20 per pixel
    # would have a hundred times the SNR of 25 that its authors state).
    amplitude=20 * 0.05**2,
    exposure=(10**3.0, 10**3.5),  # code
    psf_sigma=0.087 / _FWHM,  # code
    psf_size=5,  # code: cut at 3 sigma
    **_deeplensesim,
)
"""Model I of DeepLenseSim: 150 x 150 pixels in counts.

All lenses stand upright: halo, shear and the source's ellipse have one direction.
"""

# Model II: lenstronomy's Euclid VIS of 2021, before its zero point changed. Model III:
# its HST WFC3 F160W with a Gaussian PSF. (inferred)
_euclid: dict[str, Any] = {
    "noise": CoaddNoise(565.0, 4, 4.2, 22.35, 24.0, 0.101),
    "pixels": 64,  # code
    "pixel_scale": 0.101,
    "amplitude": sersic_amplitude(20.0, 24.0, 1.0, 0.25, 0.101),  # code: magnitude 20
    "psf_sigma": 0.16 / _FWHM,
    "psf_size": 7,  # lenstronomy's cut at 5 sigma
    **_deeplensesim,
}
_hst: dict[str, Any] = {
    "noise": CoaddNoise(5400.0, 1, 4.0, 22.3, 25.96, 0.08),
    "pixels": 64,  # code
    "pixel_scale": 0.08,
    "amplitude": sersic_amplitude(20.0, 25.96, 1.0, 0.25, 0.08),  # code: magnitude 20
    "psf_sigma": 0.08 / _FWHM,
    "psf_size": 5,  # lenstronomy's cut at 5 sigma
    **_deeplensesim,
}
MODEL_2_1, MODEL_3_1 = (
    Recipe(name=f"deeplensesim{number}@1", **numbers)
    for number, numbers in ((2, _euclid), (3, _hst))
)

# Given a lens redshift, lenstronomy's SimAPI takes Einstein radius and shear as those
# of a source at redshift 2.5: 0.812 arcsec and 0.032 are left of 1.2815 and 0.05. (fit)
_multi_plane: dict[str, Any] = {"z_source_convention": 2.5, "version": 2}


def _public(name: str, numbers: Mapping[str, Any]) -> Recipe:
    """The form of the public files: twice the light and no noise (code, fit)."""
    changes = {"amplitude": 2 * numbers["amplitude"], "noise": Noiseless()}
    return Recipe(name=name, **{**numbers, **_multi_plane, **changes})


model_2 = _public("deeplensesim2", _euclid)
"""Model II of DeepLenseSim as published: Euclid-like, 64 x 64 pixels, electrons/s.

Its code adds the image to itself where noise was meant, so that the files hold twice
the light and no noise.
"""

model_3 = _public("deeplensesim3", _hst)
"""Model III of DeepLenseSim as published: HST-like, 64 x 64 pixels, electrons/s.

Without noise and with twice the light, as Model II.
"""

model_2_noisy = Recipe(name="deeplensesim2-noisy", **_euclid, **_multi_plane)
"""Model II with the light once, and with the noise that its code leaves out."""

model_3_noisy = Recipe(name="deeplensesim3-noisy", **_hst, **_multi_plane)
"""Model III with the light once, and with the noise that its code leaves out."""
