"""Planes that flag pixels of the image beside them: masks, data quality, weights.

None of these planes is applied to the image. Nothing but their makers' documentation
says which bits of a data-quality plane make a pixel useless, and masks come in both
polarities; so it is counted, and said, how many pixels they flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lensequiv.data.planes import other_words, words

_QUALITY = frozenset(
    ["DQ", "DATAQUALITY", "QUALITY", "QUAL", "FLAG", "FLAGS", "FLG", "BPM", "BADPIX"]
)
_MASK = frozenset({"MASK", "MASKS", "MSK"})
_WEIGHT = frozenset({"WHT", "WEIGHT", "WEIGHTS", "WGT", "WT", "IVAR", "INVVAR"})
_FLAGGING = _QUALITY | _MASK | _WEIGHT
# Mask planes of the LSST pipelines that mark detections and the like, not defects.
_HARMLESS = frozenset({"DETECTED", "DETECTED_NEGATIVE", "INTRP", "SENSOR_EDGE"})


class Beside(NamedTuple):
    """A plane in the file of an image.

    Attributes:
        label: What a person calls it.
        name: By which its role is judged.
        version: EXTVER in FITS, 1 elsewhere.
        shape: As NumPy has it.
        read: Returns its values.
        header: Its keywords, and those of the primary header.
    """

    label: str
    name: str
    version: int
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    header: Mapping[str, Any] = {}


def flag_notes(
    image: Beside, others: Iterable[Beside], size: tuple[int, int]
) -> tuple[str, ...]:
    """Say how many pixels the planes beside an image flag.

    A plane belongs to the image if it has the same height and width, no word in its
    name that the image's has not (`VIS_FLAG` belongs to `VIS_BGSUB`), and the same
    version, unless it is alone of its name.

    - Data quality: pixels that are not 0; of JWST, those with the bit DO_NOT_USE; of
      the LSST pipelines, those with a bit other than DETECTED, DETECTED_NEGATIVE,
      INTRP and SENSOR_EDGE.
    - Masks of 0 and 1, whose meaning differs: how many there are of either.
    - Weights and inverse variances: pixels that are 0 or not finite.

    Args:
        image: The image.
        others: All other planes of the file that hold numbers.
        size: Height and width of the image.

    Returns:
        A sentence for each plane that flags some pixels but is not the same everywhere.
    """
    candidates = [plane for plane in others if words(plane.name) & _FLAGGING]
    notes = []
    for plane in candidates:
        alone = sum(plane.name == other.name for other in candidates) == 1
        fits = plane.shape[-2:] == size and all(n == 1 for n in plane.shape[:-2])
        named = other_words(plane.name) <= other_words(image.name)
        if fits and named and (alone or plane.version == image.version):
            note = _note(plane)
            if note:
                notes.append(note)
    return tuple(notes)


def only_two_values(pixels: np.ndarray) -> tuple[str, ...]:
    """Say so if an image has two values, as a mask has that no name tells of.

    Args:
        pixels: Of any shape and type of numbers.

    Returns:
        A note, or none.
    """
    values = pixels.reshape(-1)
    if len({*values[:: max(1, len(values) // 32)].tolist()}) > 2:
        return ()  # for most images, this settles it
    low, high = values.min(), values.max()
    if not low < high or not ((values == low) | (values == high)).all():
        return ()
    return (f"it takes only the values {low:g} and {high:g}, as a mask does",)


def unread_flag_notes(names: Iterable[str]) -> tuple[str, ...]:
    """Say which arrays beside a stack of images flag pixels, without reading them.

    Args:
        names: Of the arrays that have the height and width of the images.

    Returns:
        A sentence for each.
    """
    return tuple(
        f"the array {name} beside the images was not applied"
        for name in names
        if words(name) & _FLAGGING
    )


def _note(plane: Beside) -> str | None:
    """What one plane says, or None if nothing."""
    values = plane.read()
    if values.dtype.kind not in "biuf":
        return None
    kinds = words(plane.name)
    if kinds & _WEIGHT and not kinds & (_QUALITY | _MASK):
        return _count(
            plane, ~(np.isfinite(values) & (values != 0)), "gives no weight to"
        )
    bits = _bad_bits(plane.header)
    if bits is not None and values.dtype.kind in "iu":
        bad = (values.astype(np.int64) & bits) != 0
        return _count(plane, bad, "flags as unusable")
    zeros, ones = values == 0, values == 1
    if kinds & _MASK and (zeros | ones).all():
        if zeros.all() or ones.all():
            return None
        return (
            f"the plane {plane.label} masks pixels ({int(zeros.sum())} are 0,"
            f" {int(ones.sum())} are 1) and was not applied"
        )
    return _count(plane, ~zeros, "flags")


def _count(plane: Beside, bad: np.ndarray, verb: str) -> str | None:
    """A sentence on the pixels that are flagged, if there are any."""
    count = int(bad.sum())
    if count == 0:
        return None
    return (
        f"the plane {plane.label} {verb} {count} of {bad.size} pixels, which were used"
        " as they are"
    )


def _bad_bits(header: Mapping[str, Any]) -> int | None:
    """The bits that make a pixel unusable, where the header tells; None otherwise."""
    planes = {
        str(key)[3:]: value
        for key, value in header.items()
        if str(key).startswith("MP_") and type(value) is int and 0 <= value < 63
    }
    if planes:  # LSST: MP_SAT = 1 means that bit 1 marks saturated pixels
        return sum(1 << bit for name, bit in planes.items() if name not in _HARMLESS)
    return 1 if header.get("TELESCOP") == "JWST" else None
