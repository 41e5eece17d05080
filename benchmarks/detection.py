"""How well maps find subhalos: thresholds, completeness, false alarms, free response.

    python benchmarks/detection.py --out detection.json
        [--also runs/resnet18-modelJ/best] [--lenses 150]

Per lens, three scores are compared: the highest presence in the map, and 1 - P(no) of
the classes of the same weights and of those that `--also` names. Thresholds are taken
from smooth Model J lenses, false alarms measured on others of another seed. Subhalos
are put one by one into otherwise smooth lenses of Model J, as point masses, isothermal
spheres and NFW halos of concentration 15 and 60; places count from 0.5 arcsec. The
literature's set-ups differ: `docs/maps.md` lists how.
"""

from __future__ import annotations

import argparse
import json
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

import lensequiv
from lensequiv.domain import OutOfDomainWarning
from lensequiv.evaluation import detection
from lensequiv.inference import SubstructureMap
from lensequiv.models import LensNetwork
from lensequiv.simulation import (
    Halos,
    NoSubstructure,
    PowerLaw,
    Recipe,
    get_recipe,
    simulate,
)
from lensequiv.spec import MapSpec

SEED = 4100
ALARMS = (0.1, 0.01)
NEAR = 0.5  # arcsec from a subhalo: a place belongs to it
EDGES = tuple(10 ** (8 + k / 2) for k in range(7))
J = get_recipe("modelJ")
SMOOTH = replace(J, name="smooth", substructure={"no": NoSubstructure()})
PROFILES: dict[str, dict[str, Any]] = {
    "point mass": {"profile": "point"},
    "isothermal sphere": {"profile": "sis"},
    "NFW, c = 60": {"profile": "nfw", "concentration": (60.0, 60.0)},
    "NFW, c = 15": {"profile": "nfw", "concentration": (15.0, 15.0)},
}
CONFOUNDERS: dict[str, Recipe] = {
    "multipole m = 3 of 1 %": replace(SMOOTH, deflector=PowerLaw(third=(0.01,) * 2)),
    "multipole m = 3 of 3 %": replace(SMOOTH, deflector=PowerLaw(third=(0.03,) * 2)),
    "multipole m = 4 of 1 %": replace(SMOOTH, deflector=PowerLaw(fourth=(0.01,) * 2)),
    "multipole m = 4 of 3 %": replace(SMOOTH, deflector=PowerLaw(fourth=(0.03,) * 2)),
    "halo of axis ratio 0.7": replace(
        SMOOTH, deflector=PowerLaw(axis_ratio=(0.7, 0.7))
    ),
    "PSF width x 0.9": replace(SMOOTH, spread={"psf_sigma": (0.9, 0.9)}),
    "PSF width x 1.1": replace(SMOOTH, spread={"psf_sigma": (1.1, 1.1)}),
    "shear of 0.3 to 0.4": replace(SMOOTH, shear=(0.3, 0.4)),
}
Scores = dict[str, NDArray[np.float64]]


def single(number: int, **profile: Any) -> Recipe:
    """One subhalo in a smooth lens, its mass in one half-decade."""
    halo = Halos(
        number=1,
        mass=(EDGES[number], EDGES[number + 1]),
        slope=-1.0,
        scatter=0.0,
        radius=(0.0, 2.0),
        **profile,
    )
    return replace(J, name="single", substructure={"one": halo})


def tasks(smooth: int, few: int, lenses: int) -> dict[Any, tuple[Recipe, int, int]]:
    """Recipe, number and seed of all sets, by name, or profile and half-decade.

    Args:
        smooth: Number of smooth lenses for thresholds, and of others.
        few: Number of those of Model J, and of those that differ in one thing.
        lenses: Number for each profile and half-decade.
    """
    sphere = replace(J, substructure={"sphere": J.substructure["sphere"]})
    found: dict[Any, tuple[Recipe, int, int]] = {
        "thresholds": (SMOOTH, smooth, SEED),
        "smooth": (SMOOTH, smooth, SEED + 1),
        "sphere": (sphere, few, SEED + 2),
    }
    for i, (name, recipe) in enumerate(CONFOUNDERS.items()):
        found[name] = recipe, few, SEED + 10 + i
    for i, (name, profile) in enumerate(PROFILES.items()):
        for k in range(len(EDGES) - 1):
            seed = SEED + 1000 + 100 * i + k
            found[name, k] = single(k, **profile), lenses, seed
    return found


class Judges:
    """The networks whose scores are compared."""

    def __init__(self, weights: str, also: list[str]) -> None:
        self.model = lensequiv.from_pretrained(weights)
        self.model.check_map()
        self.others: dict[str, LensNetwork] = {
            f"classes of {Path(name).parent.name or name}": lensequiv.from_pretrained(
                name
            )
            for name in also
        }

    def __call__(self, images: Any) -> tuple[Scores, list[SubstructureMap]]:
        """Scores of lenses by name, and their maps."""
        result = self.model.predict(images, maps=True)
        assert result.maps is not None
        scores = {
            "map": np.array([one.score for one in result.maps]),
            "classes": 1 - result.probabilities[:, 0].double().numpy(),
        }
        for name, model in self.others.items():
            probabilities = model.predict(images).probabilities
            scores[name] = 1 - probabilities[:, 0].double().numpy()
        return scores, result.maps


class Judged(NamedTuple):
    """Simulated lenses, and what the networks said."""

    scores: Scores
    maps: list[SubstructureMap]
    parameters: dict[str, NDArray[np.float64]]


_judges: list[Judges] = []  # of a process of the pool


def begin(weights: str, also: list[str]) -> None:
    """What a process does first."""
    warnings.simplefilter("ignore", OutOfDomainWarning)
    torch.set_num_threads(1)
    _judges.append(Judges(weights, also))


def judged(recipe: Recipe, count: int, seed: int) -> Judged:
    """So many lenses of a recipe with one class, simulated and judged."""
    made = simulate(recipe, count, seed=seed)
    return Judged(*_judges[0](made.images), made.parameters)


def main() -> None:
    """Measures, prints and writes."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--weights", default="c8-modelJ")
    p.add_argument("--also", nargs="*", default=[], help="for 1 - P(no) of others")
    p.add_argument("--lenses", type=int, default=150, help="for each mass and profile")
    p.add_argument("--smooth", type=int, default=2000, help="lenses for thresholds")
    p.add_argument("--workers", type=int, default=2, help="processes")
    p.add_argument("--out", type=Path, required=True)
    args = p.parse_args()
    few = args.smooth // 6
    spec = lensequiv.from_pretrained(args.weights).map_spec
    assert spec is not None
    with ProcessPoolExecutor(
        args.workers, get_context("spawn"), begin, (args.weights, args.also)
    ) as pool:
        sets = tasks(args.smooth, few, args.lenses)
        waiting = {name: pool.submit(judged, *task) for name, task in sets.items()}
        found = {
            name: future.result() for name, future in tqdm(waiting.items(), "sets")
        }
    report = measured(found, spec)
    report |= {"weights": args.weights, "smooth": args.smooth, "few": few}
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    tell(report)


def measured(found: dict[Any, Judged], spec: MapSpec) -> dict[str, Any]:
    """All numbers of the report."""
    limits = {
        name: {f: detection.alarm_threshold(scores, f) for f in ALARMS}
        for name, scores in found["thresholds"].scores.items()
    }
    smooth = found["smooth"].scores
    report: dict[str, Any] = {
        "thresholds": {n: {str(f): v for f, v in t.items()} for n, t in limits.items()},
        "recorded": dict(spec.thresholds),
        "false_alarms": alarms(smooth, limits),
        "confounders": {n: alarms(found[n].scores, limits) for n in CONFOUNDERS},
        "single": {
            name: singles([found[name, k] for k in range(len(EDGES) - 1)], limits)
            for name in PROFILES
        },
        "modelJ": many(found["sphere"], limits, spec),
    }
    report["false_alarms"]["recorded"] = {
        share: float((smooth["map"] >= value).mean())
        for share, value in spec.thresholds.items()
    }
    return report


def alarms(scores: Scores, limits: dict[str, dict[float, float]]) -> dict[str, Any]:
    """Share of lenses above each threshold, by score and share of false alarms."""
    return {
        name: {str(f): float((found >= limits[name][f]).mean()) for f in ALARMS}
        for name, found in scores.items()
    }


def singles(
    parts: list[Judged], limits: dict[str, dict[float, float]]
) -> dict[str, Any]:
    """Completeness for one subhalo a lens, in half-decades of its mass."""
    masses = np.concatenate([part.parameters["mass"].max(1) for part in parts])
    subhalos = [one for part in parts for one in placed(part.parameters, part.maps)]
    maps = [one for part in parts for one in part.maps]
    result: dict[str, Any] = {}
    for f in ALARMS:
        for name, values in limits.items():
            scores = np.concatenate([part.scores[name] for part in parts])
            rows = detection.completeness(masses, scores >= values[f], EDGES)
            result[f"{name} {f}"] = [row.to_dict() for row in rows]
        result[f"place {f}"] = at_places(maps, subhalos, limits["map"][f])
    return result


def placed(parameters: Any, maps: list[SubstructureMap]) -> list[Any]:
    """Subhalos in the coordinates of the maps."""
    return detection.placed_subhalos(
        parameters, maps, pixels=J.pixels, pixel_scale=J.pixel_scale
    )


def at_places(
    maps: list[SubstructureMap], subhalos: list[Any], threshold: float
) -> list[dict[str, Any]]:
    """Completeness where the subhalo itself has to be found."""
    places = detection.find_places(maps)
    mass, found, apart = detection.found_subhalos(
        places, subhalos, radius=NEAR, threshold=threshold
    )
    rows = detection.completeness(mass, found, EDGES, apart)
    return [row.to_dict() for row in rows]


def many(
    found: Judged, limits: dict[str, dict[float, float]], spec: MapSpec
) -> dict[str, Any]:
    """Model J's own lenses with about 25 subhalos each."""
    subhalos = placed(found.parameters, found.maps)
    curve = detection.free_response(
        detection.find_places(found.maps),
        subhalos,
        radius=spec.radius,
        least_mass=spec.mass,
    )
    place = {str(f): at_places(found.maps, subhalos, limits["map"][f]) for f in ALARMS}
    return {
        "lenses": len(found.maps),
        "found": alarms(found.scores, limits),
        "place": place,
        "free_response": {
            str(rate): curve.share_at(rate) for rate in (0.1, 0.3, 1.0, 3.0)
        },
    }


def tell(report: dict[str, Any]) -> None:
    """Prints the tables of `docs/maps.md`."""
    names = list(report["thresholds"])
    print(
        "\n| false alarms on | " + " | ".join(f"{n}, 10 % / 1 %" for n in names) + " |"
    )
    print("|---" * (len(names) + 1) + "|")
    rows = {"other smooth lenses": report["false_alarms"], **report["confounders"]}
    for title, found in rows.items():
        cells = [
            " / ".join(f"{100 * found[n][str(f)]:.1f}" for f in ALARMS) for n in names
        ]
        print(f"| {title} | " + " | ".join(cells) + " |")
    columns = [f"10^{8 + k / 2:g}" for k in range(len(EDGES) - 1)]
    for f in ALARMS:
        print(f"\n{100 * f:g} % false alarms: share found in %, masses from")
        print("| | | " + " | ".join(columns) + " |")
        print("|---" * (len(columns) + 2) + "|")
        for profile, found in report["single"].items():
            for name in [*names, "place"]:
                shares = [row["share"] for row in found[f"{name} {f}"]]
                cells = [f"{100 * share:.0f}" for share in shares]
                print(f"| {profile} | {name} | " + " | ".join(cells) + " |")
        errors = [
            row["position_error"]
            for row in report["single"]["point mass"][f"place {f}"]
        ]
        print("position error of point masses:", errors)
    print(json.dumps({k: v for k, v in report["modelJ"].items() if k != "place"}))


if __name__ == "__main__":
    main()
