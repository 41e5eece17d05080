"""Maps of the substructure as FITS, NPZ and NPY files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lensequiv.data import celestial_header
from lensequiv.files import check_output, write_atomically
from lensequiv.inference._columns import written_path
from lensequiv.inference._map import LAYERS, SubstructureMap

__all__ = ["check_map_output", "write_maps"]

_ENDINGS = (".fits", ".npz", ".npy")


def check_map_output(path: str | Path, images: int) -> Path:
    """Makes sure that maps can be written to a file, before any work.

    Args:
        path: See `write_maps`.
        images: How many maps there will be.

    Raises:
        ImportError: It is to be FITS, and astropy is not installed.
        OSError: It cannot be written there.
        ValueError: It has another ending, or there is no image.
    """
    out = check_output(path, suffixes=_ENDINGS)
    if not images:
        raise ValueError("there are no maps to write; expected at least one")
    if out.suffix.lower() == ".fits":
        _fits()
    return out


def write_maps(
    maps: Sequence[SubstructureMap],
    path: str | Path,
    *,
    hdu: int | str | None = None,
) -> Path:
    """Writes maps to one file, whole or not at all.

    FITS: extensions CONVERGENCE, LOWER, UPPER and PRESENCE, with the map's number as
    their version, and in their headers what the map means. World coordinates are those
    of the image, where it is a FITS file that has some; else arcsec from the centre of
    the map, along columns and rows. NPZ: arrays `convergence`, `lower`, `upper`,
    `presence` (N, h, w), `left`, `top`, `step`, `cell` and `path` (N,); see
    `SubstructureMap`. NPY: (N, 4, h, w), the four maps in that order.

    Args:
        maps: Of `predict_map`; at least one.
        path: File to make, ending in `.fits`, `.npz` or `.npy`; an existing one is
            replaced.
        hdu: Of the images, as `predict_map` was given it.

    Returns:
        The path.

    Raises:
        ImportError: It is FITS, and astropy is not installed.
        OSError: It cannot be written there.
        ValueError: There is no map, the path has another ending, or maps that differ in
            size are to be written to NPZ or NPY.
    """
    out = check_map_output(path, len(maps))
    ending = out.suffix.lower()
    if ending == ".fits":
        content = _as_fits(maps, hdu)
    else:
        shapes = sorted({tuple(one.presence.shape) for one in maps})
        if len(shapes) > 1:
            raise ValueError(
                f"maps of {', '.join(f'{h} x {w}' for h, w in shapes)} cells; expected "
                f"one size for {ending}: write FITS, or the images apart"
            )
        content = _as_npz(maps) if ending == ".npz" else _as_npy(maps)
    write_atomically(out, content)
    return out


def _layers(one: SubstructureMap) -> dict[str, np.ndarray]:
    return {name: getattr(one, name).numpy() for name in LAYERS}


def _as_npy(maps: Sequence[SubstructureMap]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.stack([list(_layers(one).values()) for one in maps]))
    return stream.getvalue()


def _as_npz(maps: Sequence[SubstructureMap]) -> bytes:
    arrays: dict[str, Any] = {
        name: np.stack([_layers(one)[name] for one in maps]) for name in LAYERS
    }
    for name in ("left", "top", "step", "cell"):
        arrays[name] = np.array([getattr(one, name) for one in maps])
    arrays["path"] = np.array([written_path(one.path or "") for one in maps])
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _fits() -> Any:
    try:
        from astropy.io import fits
    except ImportError as error:
        raise ImportError(
            "writing FITS needs astropy: pip install 'lensequiv[fits]'"
        ) from error
    return fits


def _as_fits(maps: Sequence[SubstructureMap], hdu: int | str | None) -> bytes:
    fits = _fits()
    hdus = [fits.PrimaryHDU()]
    for number, one in enumerate(maps, start=1):
        world = _world(one, hdu)
        for name, values in _layers(one).items():
            header = fits.Header()
            header.update(world)
            header["BUNIT"] = ("", "dimensionless")
            header["MAPSMTH"] = (one.spec.smoothing, "[arcsec] sigma of the smoothing")
            header["MAPRAD"] = (one.spec.radius, "[arcsec] presence: within")
            header["MAPMASS"] = (one.spec.mass, "[Msun] presence: of at least")
            header["MAPTHE"] = (
                one.spec.einstein_radius,
                "[arcsec] and as a point mass",
            )
            if one.path is not None:
                name_of_image = written_path(one.path).encode("ascii", "replace")
                header["IMAGE"] = name_of_image.decode()
            for note in one.notes:
                header.add_comment(note.encode("ascii", "replace").decode())
            image = fits.ImageHDU(values, header, name=name.upper(), ver=number)
            hdus.append(image)
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream, output_verify="silentfix+ignore")
    return stream.getvalue()


def _world(one: SubstructureMap, hdu: int | str | None) -> Any:
    """Cards of the world coordinates of a map."""
    fits = _fits()
    if one.path is not None:
        header = celestial_header(
            one.path, hdu=hdu, left=one.left, top=one.top, step=one.step
        )
        if header is not None:
            return header
    height, width = one.presence.shape
    header = fits.Header()
    for axis, (name, side) in enumerate((("X", width), ("Y", height)), start=1):
        header[f"CTYPE{axis}"] = (name, "from the centre of the map")
        header[f"CUNIT{axis}"] = "arcsec"
        header[f"CRPIX{axis}"] = (side + 1) / 2
        header[f"CRVAL{axis}"] = 0.0
        header[f"CDELT{axis}"] = one.cell
    return header
