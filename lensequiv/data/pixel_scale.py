"""Pixel scales, in arcsec per pixel, as files tell them.

In FITS, the image's own header is looked through before that of the primary HDU, and a
world coordinate system before single keywords: after a resampling, keywords are what is
forgotten. Of a linear transformation, the scale along each axis is the length of its
column (as `astropy.wcs.utils.proj_plane_pixel_scales` has it), and the scale of the
image is the root of their product; pixels whose sides differ by more than 1 % lead to a
note, and so do a coordinate system and a keyword that differ by more than 5 %.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Iterable, KeysView, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_ARCSEC = {
    "deg": 3600.0,
    "degree": 3600.0,
    "degrees": 3600.0,
    "arcmin": 60.0,
    "arcsec": 1.0,
    "arcseconds": 1.0,
    "asec": 1.0,
    "mas": 1e-3,
    "rad": math.degrees(1) * 3600,
}
_SKY = re.compile(r"(RA|DEC|[A-Z]{1,2}L[NT]|[A-Z]LON|[A-Z]LAT)(-|$)")
_MATRIX = frozenset(
    f"{kind}{i}_{j}" for kind in ("CD", "PC") for i in "123" for j in "123"
)
_LINEAR = _MATRIX | {"CDELT1", "CDELT2", "CDELT3"}
# In arcsec, along one axis or both.
_KEYWORDS = (
    ("PIXSCALE",),
    ("PIXELSCALE",),  # longer than eight characters: by HIERARCH
    ("PIXEL_SCALE",),
    ("ESO INS PIXSCALE",),
    ("PIXSCL",),
    ("PIXSCAX", "PIXSCAY"),  # PyAutoLens
    ("PIXSCAL1", "PIXSCAL2"),
    ("PIXSCALX", "PIXSCALY"),
    ("PIXELSCL",),  # STPSF, POPPY
    ("D001SCAL",),  # AstroDrizzle: of the output
    ("SECPIX",),
    ("SECPIX1", "SECPIX2"),
    ("GS_SCALE",),  # GalSim
    ("SCALE",),
)
_AREAS = {"PIXAR_A2": 1.0, "PIXAR_SR": (math.degrees(1) * 3600) ** 2}  # JWST
_KNOWN = frozenset(name for names in _KEYWORDS for name in names) | _AREAS.keys()
SCALE_KEYWORDS = (
    _KNOWN | _LINEAR | {f"{kind}{i}" for kind in ("CTYPE", "CUNIT") for i in "123"}
)
"""The keywords that `header_pixel_scale` looks at."""

_SQUARE, _AGREE = 0.01, 0.05
# In arcsec: of keywords, and of linear axes of which no type or unit is told. Others
# mean something else, such as arcsec per mm.
_PLAUSIBLE = (1e-3, 100.0)
_NAMES = frozenset(
    ["pixelscale", "deltapix", "pixelwidth", "pixscale", "pixscl", "pixelscl"]
)


def header_pixel_scale(
    headers: Iterable[Mapping[str, Any]],
) -> tuple[float | None, tuple[str, ...]]:
    """Read the pixel scale from FITS headers.

    Args:
        headers: The image's own header, then the primary one.

    Returns:
        The scale in arcsec per pixel, or None; and notes on pixels that are not square
        and on contradictions.
    """
    for header in headers:
        names = header.keys()
        sides = None if _LINEAR.isdisjoint(names) else _coordinates(header, names)
        keyword = None if _KNOWN.isdisjoint(names) else _keyword(header, names)
        if sides is None and keyword is None:
            continue
        notes = []
        sides = keyword[1] if sides is None and keyword is not None else sides
        assert sides is not None
        scale = math.sqrt(sides[0] * sides[1])
        if abs(sides[0] / sides[1] - 1) > _SQUARE:
            notes.append(
                f"its pixels measure {sides[0]:.4g} by {sides[1]:.4g} arcsec: they are"
                " not square"
            )
        if keyword is not None:
            told = math.sqrt(keyword[1][0] * keyword[1][1])
            if abs(told / scale - 1) > _AGREE:
                notes.append(
                    f"its header tells pixel scales of {scale:.4g} arcsec (coordinate"
                    f" system, used) and {told:.4g} arcsec ({keyword[0]})"
                )
        return scale, tuple(notes)
    return None, ()


def _number(value: Any) -> float | None:
    """A finite number, also written as text; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _keyword(
    header: Mapping[str, Any], names: KeysView[str]
) -> tuple[str, tuple[float, float]] | None:
    """The first keyword that holds a scale or area, and the sides of a pixel."""
    for keys in _KEYWORDS:
        sides = [_number(header[key]) for key in keys if key in names]
        lengths = [abs(side) for side in sides if side is not None]
        low, high = _PLAUSIBLE
        if len(lengths) == len(keys) and all(low <= side <= high for side in lengths):
            return keys[0], (lengths[0], lengths[-1])
    for key, factor in _AREAS.items():
        area = _number(header[key]) if key in names else None
        if area is not None and area > 0:
            return key, (math.sqrt(area * factor),) * 2
    return None


def _coordinates(
    header: Mapping[str, Any], names: KeysView[str]
) -> tuple[float, float] | None:
    """The sides of a pixel by the linear part of the coordinate system."""
    kinds = [str(header.get(key, "")) for key in ("CTYPE1", "CTYPE2", "CTYPE3")]
    sky = [i for i, kind in enumerate(kinds, start=1) if _SKY.match(kind)]
    axes = tuple(sky[:2]) if len(sky) >= 2 else (1, 2)
    factors = []
    for axis in axes:
        key = f"CUNIT{axis}"
        unit = str(header[key]).strip().lower() if key in names else ""
        factors.append(_ARCSEC.get(unit) if unit else 3600.0)
    untold = len(sky) < 2 and not any(f"CUNIT{axis}" in names for axis in axes)
    if None in factors or (any(kinds) and untold):
        return None
    matrix = _linear_part(header, names, axes)
    if matrix is None:
        return None
    (a, b), (c, d) = matrix
    first, second = (factor or 0 for factor in factors)
    sides = [math.hypot(a * first, c * second), math.hypot(b * first, d * second)]
    lowest, highest = _PLAUSIBLE if untold else (0, math.inf)
    if not all(lowest <= side <= highest and side for side in sides):
        return None
    return sides[0], sides[1]


def _linear_part(
    header: Mapping[str, Any], names: KeysView[str], axes: tuple[int, ...]
) -> list[list[float]] | None:
    """The 2 x 2 matrix from pixels to coordinates, by CD or by PC and CDELT."""

    def value(key: str, default: float) -> float:
        number = _number(header[key]) if key in names else default
        return math.nan if number is None else number

    if _MATRIX.isdisjoint(names):
        matrix = [
            [value(f"CDELT{axes[0]}", 1), 0.0],
            [0.0, value(f"CDELT{axes[1]}", 1)],
        ]
    elif any(f"CD{i}_{j}" in names for i in axes for j in axes):
        matrix = [[value(f"CD{i}_{j}", 0) for j in axes] for i in axes]
    else:
        matrix = [
            [value(f"PC{i}_{j}", i == j) * value(f"CDELT{i}", 1) for j in axes]
            for i in axes
        ]
    return matrix if all(math.isfinite(x) for row in matrix for x in row) else None


def named_pixel_scale(values: Mapping[str, Any]) -> float | None:
    """Read the pixel scale from attributes or small arrays with names.

    Args:
        values: What HDF5 attributes, small data sets or small arrays of an NPZ file
            hold: `pixel_scale`, `deltaPix`, `pixel_width` or the like in arcsec;
            lenstronomy's matrix `transform_pix2angle`, (2, 2) in arcsec; or the
            `manifest` (JSON) that `lensequiv simulate` writes.

    Returns:
        The scale in arcsec per pixel, or None.
    """
    for name, value in values.items():
        key = re.sub(r"[^a-z]", "", name.split("/")[-1].lower())
        scale = None
        if key in _NAMES and np.size(value) == 1:
            item = np.asarray(value).reshape(-1)[0]
            scale = _number(item.decode() if isinstance(item, bytes) else item)
        elif name.split("/")[-1] == "transform_pix2angle" and np.shape(value) == (2, 2):
            scale = _number(np.sqrt(abs(np.linalg.det(np.asarray(value, float)))))
        elif key == "manifest" and isinstance(value, str | bytes):
            scale = _manifest_scale(value)
        if scale is not None and scale > 0:
            return scale
    return None


def folder_pixel_scale(path: Path) -> float | None:
    """Read the pixel scale of a set that `lensequiv simulate` wrote as class folders.

    Args:
        path: One of its images, `set/class/i.npy`.

    Returns:
        The scale in arcsec per pixel by `set/manifest.json`; None if there is no such
        file, or one of another kind.
    """
    folder = os.path.dirname(os.path.dirname(path))  # noqa: PTH120 (a tenth of the time)
    manifest = f"{folder or '.'}{os.sep}manifest.json"
    try:
        changed = os.stat(manifest).st_mtime_ns  # noqa: PTH116
    except OSError:
        return None
    return _read_manifest(manifest, changed)


@functools.lru_cache(maxsize=64)
def _read_manifest(manifest: str, changed: int) -> float | None:
    """The scale in a manifest; `changed` makes a rewritten one be read again."""
    try:
        with Path(manifest).open("rb") as stream:
            return _manifest_scale(stream.read(2**20))
    except OSError:
        return None


def _manifest_scale(text: str | bytes) -> float | None:
    """The recipe's pixel scale in a manifest of `lensequiv simulate`."""
    try:
        return _number(json.loads(text)["recipe"]["pixel_scale"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
