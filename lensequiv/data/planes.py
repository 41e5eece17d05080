"""Which of the arrays in a file is the image: by their names and shapes."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lensequiv.data.errors import ImageError

_SCIENCE_WORDS = """
    SCI SCIENCE DATA IMAGE IMAGES IMG IMGS FLUX SIGNAL CUTOUT CUTOUTS STAMP STAMPS
    BGSUB BKGSUB SUBTRACTED
"""
_AUXILIARY_WORDS = """
    MASK MASKS MSK MASKED WHT WEIGHT WEIGHTS WGT WT ERR ERROR ERRORS SIGMA UNC UNCERT
    UNCERTAINTY STD STDEV STDDEV DQ DATAQUALITY QUALITY QUAL FLAG FLAGS FLG BPM BADPIX
    PSF PSFS KERNEL KERNELS CON CONTEXT CTX VAR VARIANCE IVAR INVVAR RMS NOISE SEG SEGM
    SEGMENTATION EXP EXPTIME EXPOSURE TEXP TIME SAMP NEXP COV COVARIANCE COVERAGE BKG
    BKGD BACKGROUND SKY MODEL MODELS RESIDUAL RESIDUALS RESID CHI SNR DEPTH AREA
    WAVELENGTH WAVE GAIN FLAT DARK BIAS PARAMETERS LABELS POINTING WCSDVARR WCSCORR
    IMARR MAXI IVM CONF CONFIDENCE
"""
_SCIENCE = frozenset(_SCIENCE_WORDS.split())
_AUXILIARY = frozenset(_AUXILIARY_WORDS.split())
_BACKGROUND = frozenset({"BKG", "BKGD", "BACKGROUND", "SKY"})
_SUBTRACTED = frozenset({"SUB", "SUBTRACTED", "BGSUB", "BKGSUB"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_DEEPLENSE = re.compile(r"[Mm]odel[A-J](?![A-Za-z])")  # the sets of DeepLense
_END = re.compile(r"(MAP|IMAGE|IMG|ARRAY|PLANE)$")
_LISTED = 30  # planes that a message lists


class Plane(NamedTuple):
    """One array of a file, as its header describes it.

    Attributes:
        key: What `plane=` takes for it: a number (FITS) or a name.
        label: What a person calls it, such as "SCI,2"; begins with the number in FITS.
        words: The name by which its role is judged.
        shape: As NumPy has it; None if this is no image.
        unit: Of the pixels, or "".
        dtype: Of the pixels, or "" where it does not matter.
    """

    key: int | str
    label: str
    words: str
    shape: tuple[int, ...] | None
    unit: str = ""
    dtype: np.dtype | str = ""

    def describe(self) -> str:
        """Label, type, shape and unit, for messages."""
        if self.shape is None:
            return f"{self.label}: not an image"
        dtype = str(self.dtype)  # of NumPy's types, it takes long to ask for the name
        size = str(self.shape) if self.shape or dtype else "no data"
        return " ".join(filter(None, (f"{self.label}:", dtype, size, self.unit)))


@functools.lru_cache(maxsize=256)
def words(name: str) -> frozenset[str]:
    """Take a name apart at punctuation, digits and changes of case.

    Args:
        name: Such as `DES_G_PSF`, `noiseMap`, `ERR2` or `PSFIMAGE`.

    Returns:
        The words in upper case, without "MAP" or "IMAGE" at the end of one that says
        more: DES, G and PSF; NOISE and MAP; ERR; PSF.
    """
    found = set()
    for word in _WORD.findall(_DEEPLENSE.sub("", name)):
        stem = _END.sub("", word.upper())
        found.add(stem if stem in _AUXILIARY else word.upper())
    return frozenset(found)


def other_words(name: str) -> frozenset[str]:
    """The words of a name that say nothing about its role: a band, for instance."""
    return words(name) - _AUXILIARY - _SCIENCE - {"MAP", "PRIMARY"}


def role(name: str) -> Literal["science", "auxiliary", "unknown"]:
    """Tell from its name what a plane is for.

    `DES_G_PSF`, `noiseMap` and `ERR2` are auxiliary, `NIR_Y_BGSUB` and `image_data` are
    science, `F814W` and the empty name are unknown. One word of an auxiliary plane
    outweighs those of science (`IMAGE_MASK`).

    Args:
        name: Name of an HDU, array or data set.

    Returns:
        "science" for an image of the sky; "auxiliary" for masks, weights, errors,
        flags, PSFs, models and the like; "unknown".
    """
    found = words(name)
    if found & _SUBTRACTED:
        found -= _BACKGROUND
    if found & _AUXILIARY:
        return "auxiliary"
    return "science" if found & _SCIENCE else "unknown"


def listing(planes: Sequence[Plane]) -> str:
    """List planes for a message: number, name, version, shape and unit."""
    shown = ", ".join(plane.describe() for plane in planes[:_LISTED])
    more = len(planes) - _LISTED
    return (shown or "nothing") + (f", and {more} more" if more > 0 else "")


def choose(planes: Sequence[Plane], images: Sequence[Plane], path: Path) -> Plane:
    """Choose the image among the planes of a file, or refuse to guess.

    The only plane with the name of an image of the sky is taken; where none has such a
    name, the only one whose name does not say that it is something else.

    Args:
        planes: All of them, for the message.
        images: Those that have the shape and type of an image.
        path: File named in the error message.

    Returns:
        One of `images`.

    Raises:
        ImageError: None of the planes, or more than one, can be the image, or the only
            ones that could are masks, weights, PSFs or the like by their names.
    """
    if not images:
        raise ImageError.because(
            path,
            f"holds no 2-D or 3-D image ({listing(planes)})",
            "an image in at least one of them",
        )
    roles: dict[str, list[Plane]] = {"science": [], "unknown": [], "auxiliary": []}
    for plane in images:
        roles[role(plane.words)].append(plane)
    for found in (roles["science"], roles["unknown"]):
        if len(found) == 1:
            return found[0]
        if found:
            raise ImageError.because(
                path,
                f"holds {len(found)} planes that could be the image ({listing(found)})",
                f"one, or plane= with the one to read, such as plane={found[0].key!r}",
            )
    found = roles["auxiliary"]
    raise ImageError.because(
        path,
        "holds, by their names, only masks, weights, PSFs or the like"
        f" ({listing(found)})",
        "an image of the sky; to read one of these all the same, give it as plane=,"
        f" such as plane={found[0].key!r}",
    )
