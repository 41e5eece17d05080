"""A lens in which a subhalo is claimed, by a protocol that was fixed before.

    python benchmarks/known_lens.py runs/j0946/weights --real DIR --out runs/known

The protocol is docs/known-lens.md. `DIR` holds `slacs_J0946/` (data.fits and
mask_extra_galaxies.fits) and `slacs13_hst/` (cut-outs in NPY files). Without `--real`
only simulated look-alikes are judged: thresholds, completeness. `--out` keeps what is
done: a call that was killed goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gaussian_expansion import CORE, PSF, TREATMENTS, Array, Mask, subtracted
from known_lens_images import SCALE, SIDE, real_lenses
from scipy.ndimage import rotate
from tqdm.auto import tqdm

import lensequiv
from lensequiv.domain import OutOfDomainWarning
from lensequiv.files import write_atomically
from lensequiv.models import LensNetwork
from lensequiv.plots import check_picture
from lensequiv.simulation import (
    Halos,
    LensLight,
    NoSubstructure,
    Recipe,
    load_recipe,
    simulate,
)

RECIPE = Path(__file__).parents[1] / "examples" / "recipe_j0946.py"
ANGLES = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0)
DRAWS = 2  # of more noise, beside the image as it is
MORE = 0.3  # of the noise of the sky
INNER, OUTER = 0.6, 2.1  # arcsec: where a map counts
NEAR = 0.25  # arcsec
CLAIMED = 1.227  # arcsec from the lens: (-0.651, 1.040), Vegetti et al. 2010
BLOCK = 10  # look-alikes simulated at a time
SETS = {"smooth": (200, 7001), "claimed halo": (60, 7002), "point mass": (60, 7003)}


class Verdict(NamedTuple):
    """What the maps of all variations of one lens say.

    Attributes:
        score: Median over the variations of the highest presence in the annulus.
        x: Median place, from the centre of the image along columns. *Unit*: arcsec.
        y: Along rows.
        steady: Share of the variations whose place is within `NEAR` of that.
        scores: Of each treatment of the lens light.
    """

    score: float
    x: float
    y: float
    steady: float
    scores: tuple[float, ...]


def look_alikes(name: str) -> Recipe:
    """Lenses like the real one, their light not subtracted, of one class."""
    recipe = load_recipe(RECIPE)
    lights = tuple(
        replace(light, subtracted=0.0) if isinstance(light, LensLight) else light
        for light in recipe.lights
    )
    place = {"number": 1, "radius": (CLAIMED - 0.02, CLAIMED + 0.02)}
    kinds: dict[str, Any] = {
        "smooth": NoSubstructure(),
        # 2.4e9 solar masses within a projected kpc (Minor et al. 2021; Despali et al.).
        "claimed halo": Halos(
            mass=(9.99e9, 1.001e10), concentration=(150, 150), scatter=0.0, **place
        ),
        "point mass": Halos(profile="point", mass=(3.50e9, 3.52e9), **place),
    }
    return replace(recipe, name=name, lights=lights, substructure={"one": kinds[name]})


def variations(image: Array, hidden: Mask | None) -> Iterator[tuple[int, float, Array]]:
    """Treatment, angle and image: light subtracted, core and other objects hidden."""
    rng = np.random.default_rng(7)
    rows, columns = (np.indices(image.shape) - (SIDE - 1) / 2) * SCALE
    radius = np.hypot(rows, columns)
    for number, treatment in enumerate(TREATMENTS):
        left = subtracted(image, SCALE, treatment, hidden)
        noise = 1.4826 * np.nanmedian(np.abs(left[radius > OUTER]))
        away = radius < CORE - PSF
        if hidden is not None:
            away = away | hidden
        left = np.where(away, rng.normal(0, noise, left.shape), left)
        for angle in ANGLES:
            turned = rotate(left, angle, reshape=False, order=3, mode="reflect")
            yield number, angle, turned
            for _ in range(DRAWS):
                yield number, angle, turned + rng.normal(0, MORE * noise, left.shape)


def verdict(model: LensNetwork, image: Array, hidden: Mask | None = None) -> Verdict:
    """Judges one lens, a (150, 150) cut-out with the galaxy in its middle."""
    numbers, angles, images = zip(*variations(image, hidden), strict=True)
    scores, places = [], []
    for angle, one in zip(angles, model.predict_map(np.stack(images)), strict=True):
        rows, columns = np.indices(one.presence.shape) * one.step
        x = (one.left + columns - (SIDE - 1) / 2) * SCALE
        y = (one.top + rows - (SIDE - 1) / 2) * SCALE
        there = np.where(
            (np.hypot(x, y) >= INNER) & (np.hypot(x, y) <= OUTER), one.presence, -1.0
        )
        row, column = np.unravel_index(there.argmax(), there.shape)
        scores.append(float(there[row, column]))
        # `rotate` turns the image from columns towards -rows.
        turn = np.radians(angle) * 1j
        places.append(complex(x[row, column], y[row, column]) * np.exp(turn))
    middle = complex(np.median(np.real(places)), np.median(np.imag(places)))
    each = [
        float(np.median([s for s, n in zip(scores, numbers, strict=True) if n == i]))
        for i in range(len(TREATMENTS))
    ]
    steady = float(np.mean(np.abs(np.array(places) - middle) < NEAR))
    median = float(np.median(scores))
    return Verdict(median, middle.real, middle.imag, steady, tuple(each))


def judge_simulated(weights: str, name: str, block: int) -> list[dict[str, Any]]:
    """Some look-alikes; true places and verdicts."""
    warnings.simplefilter("ignore", OutOfDomainWarning)
    torch.set_num_threads(1)
    made = simulate(look_alikes(name), BLOCK, seed=1000 * SETS[name][1] + block)
    places = made.parameters["mass_x"][:, :1], made.parameters["mass_y"][:, :1]
    return [
        {
            **verdict(_model(weights), np.asarray(image, float))._asdict(),
            "true_x": float(x.sum()),  # of smooth lenses 0
            "true_y": float(y.sum()),
        }
        for image, x, y in zip(made.images, *places, strict=True)
    ]


_models: dict[str, LensNetwork] = {}  # of a process


def _model(weights: str) -> LensNetwork:
    if weights not in _models:
        _models[weights] = lensequiv.from_pretrained(weights)
        _models[weights].check_map()
    return _models[weights]


def p_value(score: float, smooth: Array) -> float:
    """Share of smooth look-alikes that score as high, the lens itself counted."""
    return float((1 + (smooth >= score).sum()) / (1 + len(smooth)))


def judged(args: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """All look-alikes of a set; those that were judged before are read."""
    path = args.out / f"{name.replace(' ', '-')}.json"
    done = json.loads(path.read_text()) if path.exists() else []
    wanted = min(args.lenses or SETS[name][0], SETS[name][0])
    left = range(len(done) // BLOCK, -(-wanted // BLOCK))
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        task = partial(judge_simulated, str(args.weights), name)
        for one in tqdm(pool.map(task, left), total=len(left), desc=name):
            done += one
            write_atomically(path, json.dumps(done).encode())
    return done


def plot(
    found: dict[str, list[dict[str, Any]]],
    told: list[dict[str, Any]],
    model: LensNetwork,
    folder: Path,
    path: Path,
) -> None:
    """The lens, what is left of it, its map, and its score among the look-alikes'."""
    from lensequiv.plots._style import COLOURS, KEY, draw_image, figure_class, finish

    name, image, hidden = next(real_lenses(folder))
    _, _, left = next(variations(image, hidden))
    (one,) = model.predict_map(left[None])
    figure: Any = figure_class()(figsize=(11, 2.9), layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.5))
    inside = slice(SIDE // 2 - 48, SIDE // 2 + 49)
    titles = (name, "light subtracted", "presence of a subhalo")
    for panel, pixels, title in zip(panels, (image, left), titles, strict=False):
        draw_image(panel, pixels[inside, inside].astype(np.float32), SCALE)
        panel.set_title(title, fontsize=9)
    presence = panels[2].imshow(
        one.presence, origin="lower", extent=one.extent, cmap="cividis", vmin=0
    )
    panels[2].set_title(titles[2], fontsize=9)
    figure.colorbar(presence, ax=panels[2], shrink=0.8)
    for panel in panels[:3]:
        for radius in (INNER, OUTER):
            turn = np.linspace(0, 2 * np.pi, 200)
            line = radius * np.cos(turn), radius * np.sin(turn)
            panel.plot(*line, color="white", linewidth=0.5)
        panel.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4))
        panel.set_xlabel("arcsec", fontsize=8)
        panel.tick_params(labelsize=7)
    bins = np.linspace(0, 1, 26)
    for (kind, all_of_it), colour in zip(found.items(), COLOURS, strict=False):
        scores = [one["score"] for one in all_of_it]
        weights = np.full(len(scores), 1 / len(scores))
        look: Any = {"color": colour, "label": f"look-alikes, {kind}"}
        panels[3].hist(scores, bins, weights=weights, histtype="step", **look)
    panels[3].axvline(told[0]["score"], color="black", linestyle="--", label=name)
    panels[3].set_xlabel("score", fontsize=8)
    panels[3].set_ylabel("share of the lenses", fontsize=8)
    panels[3].tick_params(labelsize=7)
    panels[3].legend(**KEY)
    finish(figure, path)


def main() -> None:
    """Judges look-alikes, then the real lenses; prints a table."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("weights", type=Path, help="folder of a weight with a map")
    p.add_argument("--real", type=Path, help="folder of the real lenses")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--plot", type=check_picture, help="of the lens; needs --real")
    p.add_argument("--lenses", type=int, help="at most, of each set")
    p.add_argument("--workers", type=int, default=1, help="processes")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    found = {name: judged(args, name) for name in SETS}
    smooth = np.array([one["score"] for one in found["smooth"]])
    rows: dict[str, Any] = {}
    for share in (0.1, 0.01):
        limit = float(np.quantile(smooth, 1 - share))
        rows[f"threshold of {share:.0%}"] = limit
        for name in ("claimed halo", "point mass"):
            scores = np.array([one["score"] for one in found[name]])
            near = np.array(
                [
                    np.hypot(one["x"] - one["true_x"], one["y"] - one["true_y"]) < 0.5
                    for one in found[name]
                ]
            )
            noticed = scores > limit
            rows[f"{name}, noticed at {share:.0%}"] = float(noticed.mean())
            rows[f"{name}, placed at {share:.0%}"] = float((noticed & near).mean())
    print(json.dumps(rows, indent=2))
    if args.real is None:
        return
    warnings.simplefilter("ignore", OutOfDomainWarning)
    told = []  # a list, since one lens is there in two reductions
    print("| lens | score | p | of the treatments | place, arcsec | steady |")
    print("|---|---|---|---|---|---|")
    for name, image, hidden in real_lenses(args.real):
        one = verdict(_model(str(args.weights)), image, hidden)
        p = p_value(one.score, smooth)
        told.append({"lens": name, **one._asdict(), "p": p})
        each = ", ".join(f"{score:.3f}" for score in one.scores)
        cells = f"{one.score:.3f} | {p:.3f} | {each} | {one.x:+.2f}, {one.y:+.2f}"
        print(f"| {name} | {cells} | {one.steady:.2f} |")
    write_atomically(
        args.out / "known.json", json.dumps({"sets": rows, "real": told}).encode()
    )
    if args.plot is not None:
        plot(found, told, _model(str(args.weights)), args.real, args.plot)


if __name__ == "__main__":
    main()
