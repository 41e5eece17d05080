"""Which HDU of a FITS file is the image, and what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lensequiv.data.errors import ImageError
from lensequiv.data.flags import Beside
from lensequiv.data.planes import Plane, choose, listing, role

_NUMBER = re.compile(r"[+-]?[0-9]+")
_VERSION = re.compile(r"(.*),\s*([0-9]+)", re.DOTALL)
# Where EXTNAME says nothing: LSST, ESO, and the Legacy Surveys.
_KINDS = ("EXTTYPE", "HDUCLAS2", "IMTYPE", "PRODTYPE")


def choose_hdu(
    hdus: Any, hdu: int | str | None, length: int, path: Path
) -> tuple[Any, list[Any]]:
    """Choose the HDU of the image.

    Args:
        hdus: The open file.
        hdu: Number, negative to count from the end; name (EXTNAME), upper or lower
            case; name and version ("SCI,2"); a number may be given as text, as on a
            command line. None to choose by name and shape, see
            `lensequiv.data.planes.choose`.
        length: Of the file, in bytes.
        path: File named in error messages.

    Returns:
        The HDU, which holds an image, and all HDUs of the file.

    Raises:
        ImageError: There is no such HDU or there are several, it holds no image, or it
            is not clear which one holds the image.
    """
    first = hdus[0]
    place = first.fileinfo()
    alone = place["datLoc"] + place["datSpan"] >= length  # astropy need not look on
    if alone and hdu is None and first.name == "PRIMARY" and _is_candidate(first):
        return first, [first]  # the usual case, without descriptions
    found = [first] if alone else list(hdus)
    if hdu is None:
        planes = [_plane(number, found) for number in range(len(found))]
        images = [planes[n] for n, item in enumerate(found) if _is_candidate(item)]
        return found[int(choose(planes, images, path).key)], found
    numbers = _asked_for(found, hdu)
    if len(numbers) != 1:
        planes = [_plane(number, found) for number in numbers or range(len(found))]
        what = f"has {len(numbers)} HDUs {hdu!r}" if numbers else f"has no HDU {hdu!r}"
        raise ImageError.because(path, what, f"one of {listing(planes)}")
    chosen = found[numbers[0]]
    if not chosen.is_image or not chosen.shape:
        planes = [_plane(number, found) for number in range(len(found))]
        raise ImageError.because(
            path,
            f"holds no image in HDU {hdu!r}",
            f"the HDU of an image, out of {listing(planes)}",
        )
    return chosen, found


def _asked_for(found: Sequence[Any], hdu: int | str) -> list[int]:
    """The numbers of the HDUs that `hdu` can mean."""
    if isinstance(hdu, str):
        name = hdu.strip().upper()
        if not _NUMBER.fullmatch(name):
            named = [n for n, item in enumerate(found) if item.name.upper() == name]
            match = _VERSION.fullmatch(name)
            if named or match is None:
                return named if name else []
            name, version = match[1].strip(), int(match[2])
            return [
                n
                for n, item in enumerate(found)
                if item.name.upper() == name and item.ver == version
            ]
        hdu = int(name)
    number = hdu + (len(found) if hdu < 0 else 0)
    return [number] if 0 <= number < len(found) else []


def label(hdu: Any, found: Sequence[Any]) -> str:
    """What `hdu=` takes for an HDU: its name, name and version, or number."""
    name: str = hdu.name
    if not name:
        return str(found.index(hdu))
    alone = len(found) == 1 or sum(name == other.name for other in found) == 1
    return name if alone else f"{name},{hdu.ver}"


def beside(found: Sequence[Any], check: Callable[[Any], None]) -> list[Beside]:
    """Describe the HDUs of a file to `lensequiv.data.flags`.

    Args:
        found: All HDUs.
        check: Raises ImageError if an HDU claims more than the file can hold; called
            before its pixels are read.

    Returns:
        One description for each HDU, in order.
    """
    telescope = found[0].header.get("TELESCOP")

    def describe(item: Any) -> Beside:
        def read() -> np.ndarray:
            check(item)
            return np.asarray(item.data)

        shape = tuple(item.shape) if item.is_image else ()
        header = {"TELESCOP": telescope}
        header |= {k: item.header[k] for k in set(item.header) if k[:3] == "MP_"}
        words = _words(item) if item.is_image else ""
        return Beside(label(item, found), words, item.ver, shape, read, header)

    return [describe(item) for item in found]


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the first axes of four or more, while their length is 1.

    Radio images have such axes for frequency and polarisation.
    """
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    return tuple(shape)


def _is_candidate(item: Any) -> bool:
    """Whether an HDU holds 2-D or 3-D data of more than a row: no dummy."""
    shape = image_shape(item.shape) if item.is_image else ()
    if len(shape) not in (2, 3):
        return False
    return 0 not in shape and sum(axis > 1 for axis in shape) >= 2


def _words(item: Any) -> str:
    """The name by which an HDU's role is judged."""
    name: str = item.name
    if role(name) == "unknown":
        kinds = [str(item.header[key]) for key in _KINDS if key in item.header]
        return " ".join([name, *kinds])
    return name


def _plane(number: int, found: Sequence[Any]) -> Plane:
    """Describe an HDU for messages."""
    item = found[number]
    shape = tuple(item.shape) if item.is_image else None
    name = label(item, found) if item.name else "unnamed"
    unit = str(item.header.get("BUNIT", "")).strip() if item.is_image else ""
    return Plane(number, f"{number} {name}", _words(item), shape, unit)
