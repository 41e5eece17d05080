"""World coordinates of a FITS image, carried over to what is made of it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from lensequiv.data.fits import fits_stream
from lensequiv.data.fits_planes import choose_hdu
from lensequiv.data.readers import is_fits

__all__ = ["celestial_header"]


def celestial_header(
    path: str | os.PathLike[str],
    *,
    hdu: int | str | None = None,
    left: float = 0.0,
    top: float = 0.0,
    step: float = 1.0,
) -> Any | None:
    """The sky coordinates of a grid that lies on a FITS image.

    Args:
        path: The image's file.
        hdu: Which HDU; see `lensequiv.data.read_image`.
        left: Column of the image, from 0, on which the grid's first column lies.
            *Unit*: pixels.
        top: Row of the image, from 0, on which the grid's first row lies. *Unit*:
            pixels.
        step: Distance of the grid's points. *Unit*: pixels.

    Returns:
        An `astropy.io.fits.Header` with the linear part of the image's coordinates, for
        the grid; None if the file is not FITS or has no sky coordinates that astropy
        understands.

    Raises:
        ImageError: The file has no such HDU, or not exactly one that can be the image.
        ImportError: astropy is not installed.
        OSError: The file cannot be opened.
    """
    path = Path(path)
    if not is_fits(path):
        return None
    from astropy.io import fits
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that are not quite in order
        with path.open("rb") as stream:
            source, length = fits_stream(stream, path)
            hdus = fits.open(source, mode="readonly", memmap=False)
            chosen, others = choose_hdu(hdus, hdu, length, path)
            for header in (chosen.header, others[0].header):
                try:
                    world = WCS(header)
                except Exception:  # astropy has no common class for bad coordinates
                    continue
                if world.has_celestial:
                    break
            else:
                return None
        world = world.celestial
        world.sip = world.cpdis1 = world.cpdis2 = world.det2im1 = world.det2im2 = None
        first = (left, top)
        world.wcs.crpix = [
            (pixel - 1 - start) / step + 1
            for pixel, start in zip(world.wcs.crpix, first, strict=True)
        ]
        if world.wcs.has_cd():
            world.wcs.cd = world.wcs.cd * step
        else:
            world.wcs.cdelt = world.wcs.cdelt * step
        return world.to_header()
