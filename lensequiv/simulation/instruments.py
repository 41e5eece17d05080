"""Cameras of telescopes, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lensequiv._suggestions import did_you_mean
from lensequiv.simulation.blur import Blur
from lensequiv.simulation.camera import Camera

if TYPE_CHECKING:
    from lensequiv.simulation._recipe import Recipe

__all__ = ["INSTRUMENTS", "Instrument", "get_instrument", "observed_by"]


@dataclass(frozen=True)
class Instrument:
    """A camera, a filter and how they are typically used.

    Attributes:
        name: As `get_instrument` takes it.
        pixel_scale: *Unit*: arcsec/pixel.
        fwhm: Of the point-spread function in the image. *Unit*: arcsec.
        beta: Exponent of the Moffat profile that stands for it.
        zero_point: AB magnitude of one electron per second.
        sky_brightness: *Unit*: AB magnitudes per square arcsec.
        read_noise: Of an exposure, in a pixel of that size. *Unit*: electrons.
        dark_current: *Unit*: electrons/pixel/s.
        exposure: Of all exposures together. *Unit*: s.
        exposures: Their number.
        full_well: *Unit*: electrons; None where it is not reached.
        source: Where the numbers come from.
    """

    name: str
    pixel_scale: float
    fwhm: float
    beta: float
    zero_point: float
    sky_brightness: float
    read_noise: float
    dark_current: float
    exposure: float
    exposures: int
    full_well: float | None
    source: str

    def camera(self, **changes: Any) -> Camera:
        """Its noise, as what a `Recipe` takes for `noise`.

        Args:
            **changes: Other values for fields of `Camera`, such as `magnitude`.
        """
        given: dict[str, Any] = {
            "zero_point": self.zero_point,
            "sky_brightness": (self.sky_brightness,) * 2,
            "read_noise": (self.read_noise,) * 2,
            "dark_current": self.dark_current,
            "exposure": (self.exposure,) * 2,
            "exposures": self.exposures,
            "full_well": self.full_well,
        }
        return Camera(**(given | changes))

    def blur(self, spread: float = 1.05) -> Blur:
        """Its point-spread function, wider or narrower by at most a factor."""
        width = self.fwhm / self.pixel_scale
        return Blur(
            fwhm=(width / spread, width * spread),
            beta=(self.beta, self.beta),
            moffat=1.0,
            axis_ratio=(0.95, 1.0),
        )


_LSST = "lenstronomy's LSST configuration: ten years, 460 visits of 15 s"
_KNOWN = (
    Instrument(
        name="hst-acs-f814w",
        pixel_scale=0.05,
        fwhm=0.095,
        beta=3.0,
        zero_point=25.94,
        sky_brightness=22.0,
        read_noise=4.7,
        dark_current=0.0161,
        exposure=2028.0,
        exposures=4,
        full_well=77400.0,
        source="ACS Instrument Handbook, cycle 33, table 3.1 (pixels, noise, well); "
        "Koekemoer et al. 2007 (PSF, exposure); GalSim's COSMOS catalogue (zero point)",
    ),
    Instrument(
        name="hst-wfc3-f160w",
        pixel_scale=0.08,
        fwhm=0.151,
        beta=3.0,
        zero_point=25.946,
        sky_brightness=22.3,
        read_noise=7.5,
        dark_current=0.019,
        exposure=5400.0,
        exposures=4,
        full_well=None,
        source="WFC3 Instrument Handbook (PSF; read-out 12 electrons and dark current "
        "0.048 electrons/s of pixels of 0.128 arcsec, here in drizzled ones of 0.08); "
        "lenstronomy's HST configuration (sky, exposure, zero point)",
    ),
    Instrument(
        name="jwst-nircam-f150w",
        pixel_scale=0.031,
        fwhm=0.050,
        beta=2.5,
        zero_point=28.02,
        sky_brightness=22.2,
        read_noise=6.0,
        dark_current=0.0019,
        exposure=2056.0,
        exposures=8,
        full_well=None,
        source="JWST User Documentation, NIRCam (pixels, PSF, dark current); COSMOS-"
        "Web as in lenstronomy's JWST configuration (exposure, zero point); background "
        "0.2 MJy/sr and read-out noise after ramp fitting (inferred)",
    ),
    Instrument(
        name="jwst-nircam-f444w",
        pixel_scale=0.063,
        fwhm=0.145,
        beta=2.5,
        zero_point=28.0,
        sky_brightness=21.7,
        read_noise=6.0,
        dark_current=0.034,
        exposure=2056.0,
        exposures=8,
        full_well=None,
        source="JWST User Documentation, NIRCam (pixels, PSF, dark current); COSMOS-"
        "Web (exposure); zero point from a throughput of 0.5 over 25.4 m2, background "
        "0.3 MJy/sr and read-out noise after ramp fitting (inferred)",
    ),
    Instrument(
        name="euclid-vis",
        pixel_scale=0.1,
        fwhm=0.16,
        beta=3.5,
        zero_point=25.72,
        sky_brightness=22.3,
        read_noise=4.2,
        dark_current=0.001,
        exposure=2264.0,
        exposures=4,
        full_well=None,
        source="lenstronomy's Euclid configuration after Cropper et al. 2024, "
        "arXiv:2405.13492 ff. (zero point, sky, PSF, read-out); four exposures of 566 "
        "s of the wide survey; dark current (inferred)",
    ),
    Instrument(
        name="roman-f129",
        pixel_scale=0.11,
        fwhm=0.106,
        beta=3.0,
        zero_point=26.353,
        sky_brightness=22.99,
        read_noise=8.5,
        dark_current=0.005,
        exposure=642.0,
        exposures=6,
        full_well=None,
        source="lenstronomy's Roman configuration after the project's technical pages "
        "(zero point, sky, PSF, read-out; six exposures of 107 s of the wide-area "
        "survey); dark current (inferred)",
    ),
    Instrument(
        name="hsc-i",
        pixel_scale=0.168,
        fwhm=0.61,
        beta=3.5,
        zero_point=28.61,
        sky_brightness=19.7,
        read_noise=4.5,
        dark_current=0.0,
        exposure=1200.0,
        exposures=6,
        full_well=None,
        source="Aihara et al. 2022, arXiv:2108.13045, table 1, Wide (PSF, exposure); "
        "galcheat 1.0 (zero point, sky); read-out noise from Miyazaki et al. 2018",
    ),
    Instrument(
        name="lsst-i",
        pixel_scale=0.2,
        fwhm=0.71,
        beta=3.5,
        zero_point=27.79,
        sky_brightness=20.48,
        read_noise=9.0,
        dark_current=0.2,
        exposure=6900.0,
        exposures=460,
        full_well=None,
        source=f"{_LSST} (zero point, sky, PSF); Ivezic et al. 2019, arXiv:0805.2366 "
        "(read-out noise and dark current: what is required)",
    ),
)
INSTRUMENTS = {instrument.name: instrument for instrument in _KNOWN}


def get_instrument(name: str) -> Instrument:
    """Returns an instrument by name.

    Args:
        name: `hst-acs-f814w`, `hst-wfc3-f160w`, `jwst-nircam-f150w`,
            `jwst-nircam-f444w`, `euclid-vis`, `roman-f129`, `hsc-i` or `lsst-i`. Where
            its numbers come from stands in `Instrument.source`.

    Raises:
        ValueError: There is none of this name; the message has the nearest.
    """
    if name not in INSTRUMENTS:
        raise ValueError(
            f"unknown instrument {name!r}; {did_you_mean(name, INSTRUMENTS)}known are "
            f"{', '.join(INSTRUMENTS)}"
        )
    return INSTRUMENTS[name]


def observed_by(recipe: Recipe, instrument: str | Instrument, **changes: Any) -> Recipe:
    """The lenses of a recipe as an instrument sees them.

    Pixel scale, point-spread function and noise are replaced; what the recipe draws
    lens by lens of the pixel scale (`ring`) is left out. Images are in electrons with
    the sky subtracted.

    Args:
        recipe: Any recipe.
        instrument: Its name, see `get_instrument`, or the instrument.
        **changes: Other values for fields of `Camera`, such as `magnitude` (of the
            source) or `exposure`.

    Raises:
        ValueError: Unknown instrument, or a number out of range.
    """
    if isinstance(instrument, str):
        instrument = get_instrument(instrument)
    width = 2 * int(3 * instrument.fwhm / instrument.pixel_scale) + 1
    return replace(
        recipe,
        name=f"{recipe.name}-{instrument.name}",
        pixel_scale=instrument.pixel_scale,
        ring=None,
        exposure=(1.0, 1.0),
        blur=instrument.blur(),
        psf_size=min(max(width, 7), recipe.pixels - 1 + recipe.pixels % 2),
        noise=instrument.camera(**changes),
    )
