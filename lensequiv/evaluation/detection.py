"""How well maps find subhalos: thresholds, completeness, false places. Numbers only.

A *lens score* is one number for a lens, such as the highest presence of its map: it
says whether there is substructure. A *place* is a maximum of a map: it says where.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensequiv.evaluation._map_truth import placed_subhalos, true_convergence
from lensequiv.inference import SubstructureMap

__all__ = [
    "Completeness",
    "FreeResponse",
    "Places",
    "alarm_threshold",
    "completeness",
    "find_places",
    "found_subhalos",
    "free_response",
    "placed_subhalos",
    "share_interval",
    "true_convergence",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Maxima of the maps of many lenses.

    Attributes:
        lens: (P,) int64: which lens.
        x: (P,) from the centre of the map, along columns. *Unit*: arcsec.
        y: (P,) likewise, along rows. *Unit*: arcsec.
        probability: (P,) presence there.
        lenses: How many lenses there are.
    """

    lens: NDArray[np.int64]
    x: Array
    y: Array
    probability: Array
    lenses: int


@dataclass(frozen=True)
class Completeness:
    """What share of subhalos is found, in one range of masses.

    Attributes:
        low: Least mass. *Unit*: solar masses.
        high: Mass that is no longer in it. *Unit*: solar masses.
        number: Of subhalos, or of lenses with one.
        share: That is found; NaN if there are none.
        interval: See `share_interval`.
        position_error: Median distance of the place from the subhalo, of those found;
            NaN where places do not count or none is found. *Unit*: arcsec.
    """

    low: float
    high: float
    number: int
    share: float
    interval: tuple[float, float]
    position_error: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; NaN becomes None."""
        known = bool(self.number)
        unknown = math.isnan(self.position_error)
        return {
            "low": self.low,
            "high": self.high,
            "number": self.number,
            "share": self.share if known else None,
            "interval": list(self.interval) if known else None,
            "position_error": None if unknown else self.position_error,
        }


@dataclass(frozen=True)
class FreeResponse:
    """The free-response curve: false places a lens against the share found.

    Attributes:
        thresholds: (T,) least presence of a place, falling.
        false_places: (T,) places near no subhalo that counts, a lens.
        share: (T,) of the subhalos that count which have a place near them.
    """

    thresholds: Array
    false_places: Array
    share: Array

    def share_at(self, false_places: float) -> float:
        """The largest share with at most so many false places a lens; 0 if none."""
        allowed = self.share[self.false_places <= false_places]
        return float(allowed.max()) if len(allowed) else 0.0


def alarm_threshold(scores: Array, false_alarms: float) -> float:
    """The score that a share of smooth lenses exceeds.

    Args:
        scores: (N,) of smooth lenses.
        false_alarms: The share, with at least one lens in it.

    Raises:
        ValueError: There are too few lenses for the share.
    """
    scores = np.asarray(scores, np.float64)
    if not 0 < false_alarms < 1 or len(scores) * false_alarms < 1:
        raise ValueError(
            f"false_alarms={false_alarms} of {len(scores)} smooth lenses: expected a "
            "share below 1 that is at least one lens"
        )
    return float(np.quantile(scores, 1 - false_alarms, method="higher"))


def share_interval(found: int, number: int) -> tuple[float, float]:
    """The 68 % interval of a share (Wilson's score interval).

    Args:
        found: How many of them.
        number: How many there are.

    Returns:
        Lower and upper limit; 0 and 1 if there are none.
    """
    if not number:
        return 0.0, 1.0
    share = found / number
    # One standard deviation: z = 1.
    centre = (share + 1 / (2 * number)) / (1 + 1 / number)
    spread = share * (1 - share) / number + 1 / (4 * number**2)
    half = math.sqrt(spread) / (1 + 1 / number)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def find_places(maps: Sequence[SubstructureMap], least: float = 0.02) -> Places:
    """The places of many maps.

    Args:
        maps: One for each lens.
        least: Presence below which a maximum is no place.
    """
    rows = [
        (number, place.x, place.y, place.probability)
        for number, one in enumerate(maps)
        for place in one.detections(least)
    ]
    table = np.array(rows, np.float64).reshape(-1, 4)
    lens, x, y, probability = table.T
    return Places(lens.astype(np.int64), x, y, probability, len(maps))


def _nearest(
    places: Places, subhalos: Sequence[Array], radius: float, threshold: float
) -> tuple[list[Array], NDArray[np.bool_]]:
    """For every subhalo the distance of the nearest place, and which places are true.

    Args:
        places: Of all lenses.
        subhalos: (K, 3) of each lens; see `completeness`.
        radius: Within which a place belongs to a subhalo. *Unit*: arcsec.
        threshold: Least presence of a place.

    Returns:
        (K,) for each lens: the distance, infinite if there is no place within the
        radius; and (P,): whether a subhalo is within the radius.
    """
    if len(subhalos) != places.lenses:
        raise ValueError(
            f"subhalos of {len(subhalos)} lenses, but places of {places.lenses}"
        )
    true = np.zeros(len(places.lens), bool)
    distances = []
    order = np.argsort(places.lens, kind="stable")
    starts = np.searchsorted(places.lens[order], np.arange(places.lenses + 1))
    for number, found in enumerate(subhalos):
        mine = order[starts[number] : starts[number + 1]]
        mine = mine[places.probability[mine] >= threshold]
        apart = np.hypot(
            places.x[mine][:, None] - found[:, 0], places.y[mine][:, None] - found[:, 1]
        )
        near = apart <= radius
        true[mine] = near.any(1)
        apart = np.where(near, apart, np.inf)
        distances.append(apart.min(0, initial=np.inf))
    return distances, true


def completeness(
    mass: Array,
    found: NDArray[np.bool_],
    edges: Sequence[float],
    errors: Array | None = None,
) -> list[Completeness]:
    """The share that is found, in ranges of mass.

    Args:
        mass: (N,) of subhalos, or of the heaviest one of each lens. *Unit*: solar
            masses.
        found: (N,) whether it is.
        edges: Of the ranges, rising. *Unit*: solar masses.
        errors: (N,) distance of the place, where it is found. *Unit*: arcsec.
    """
    mass, hit = np.asarray(mass), np.asarray(found, np.bool_)
    rows = []
    for low, high in itertools.pairwise(edges):
        here = (mass >= low) & (mass < high)
        number, hits = int(here.sum()), int((here & hit).sum())
        error = math.nan
        if errors is not None and hits:
            error = float(np.median(np.asarray(errors)[here & hit]))
        rows.append(
            Completeness(
                low,
                high,
                number,
                hits / number if number else math.nan,
                share_interval(hits, number),
                error,
            )
        )
    return rows


def found_subhalos(
    places: Places, subhalos: Sequence[Array], *, radius: float, threshold: float
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Which subhalos have a place near them.

    Args:
        places: Of all lenses.
        subhalos: (K, 3) of each lens: x and y from the centre of the map in arcsec,
            and mass in solar masses; those of mass 0 do not count.
        radius: Within which a place belongs to a subhalo. *Unit*: arcsec.
        threshold: Least presence of a place.

    Returns:
        Mass, whether it is found, and the distance of the nearest place (infinite if
        not), (S,) each, of all subhalos.

    Raises:
        ValueError: The numbers of lenses differ.
    """
    real = [np.asarray(one)[np.asarray(one)[:, 2] > 0] for one in subhalos]
    distances, _ = _nearest(places, real, radius, threshold)
    mass = np.concatenate([one[:, 2] for one in real])
    apart = np.concatenate(distances)
    return mass, np.isfinite(apart), apart


def free_response(
    places: Places,
    subhalos: Sequence[Array],
    *,
    radius: float,
    least_mass: float,
    thresholds: Sequence[float] | None = None,
) -> FreeResponse:
    """False places a lens against the share of subhalos found.

    A place counts as true where a subhalo that counts is within the radius; several
    places may belong to one subhalo, and several subhalos to one place.

    Args:
        places: Of all lenses.
        subhalos: See `found_subhalos`.
        radius: Within which a place belongs to a subhalo. *Unit*: arcsec.
        least_mass: Of the subhalos that count. *Unit*: solar masses.
        thresholds: Of the presence; 40 between 0.02 and 0.99 if None.

    Raises:
        ValueError: No subhalo counts, or the numbers of lenses differ.
    """
    heavy = [np.asarray(one)[np.asarray(one)[:, 2] >= least_mass] for one in subhalos]
    total = sum(len(one) for one in heavy)
    if not total:
        raise ValueError(f"no subhalo has {least_mass:g} solar masses or more")
    if thresholds is None:
        odds = np.linspace(math.log(0.02 / 0.98), math.log(0.99 / 0.01), 40)
        thresholds = list(1 / (1 + np.exp(-odds)))
    falling = np.sort(np.asarray(thresholds, np.float64))[::-1]
    false, share = [], []
    for threshold in falling:
        distances, true = _nearest(places, heavy, radius, threshold)
        shown = places.probability >= threshold
        false.append((shown & ~true).sum() / places.lenses)
        share.append(sum(np.isfinite(d).sum() for d in distances) / total)
    return FreeResponse(falling, np.array(false), np.array(share))
