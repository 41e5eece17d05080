"""What weights say of real lenses, and how firm those answers are.

    python benchmarks/real_lenses.py REAL --out FOLDER [--weights c8-modelJ runs/best]
        [--also PATH ... --pixel-scale 0.05] [--smooth 40] [--plot FOLDER]

REAL has the real lenses of this project's data; `--also` adds files or folders of
others. Each lens is classified as its file has it, with the lens galaxy's light
subtracted (`lens_light.py`), and both again after changes that should not matter:
turns, shifts, one more draw of the sky's noise, and a pixel scale told wrong by 5 %.
The same is done with simulated lenses of the recipe `hst` and of each weight's own
recipe, without substructure and with it; their seed has not been used elsewhere.
Answers are kept in OUT, and the same command goes on where it was killed; tables go to
the screen and to `OUT/real_lenses.md`. With `--sizes N`, N lenses of each weight's own
recipe are classified in ever smaller cut-outs, too. Needs the extras `fits`, `hdf5`,
`sim` and, to draw, `plots`.
"""

import argparse
import json
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lens_light import sky_noise, subtracted
from real_lens_images import (
    SCALE,
    Image,
    Seen,
    centre,
    other_images,
    real_images,
    simulated,
)
from real_lens_tables import draw, tables
from scipy.ndimage import rotate, shift
from tqdm.auto import tqdm

import lensequiv
from lensequiv.domain import OutOfDomainWarning
from lensequiv.evaluation._evaluate import weights_facts
from lensequiv.files import write_atomically
from lensequiv.models import LensNetwork
from lensequiv.simulation import simulate
from lensequiv.transforms import resample

SEED = 302_700
WEIGHTS = ("c8-modelJ", "d8-modelJ", "c8-modelJ-turns", "c8-modelF", "d8-deeplensesim1")
ANGLES = (30, 45, 60)  # degrees
STEP = 2  # pixels of a shift
DRAWS = 4  # of noise
WRONG = (1.05, 0.95)  # scales that are told, over the true one
SIDES = (41, 50, 64, 72, 80, 90, 120)  # pixels of smaller and smaller cut-outs
CHANGED = 12  # simulated lenses of each kind that are changed, too


def changes(pixels: Image, seed: int) -> dict[str, list[Image]]:
    """An image after changes that should not matter, by their name."""
    rng, noise = np.random.default_rng(seed), sky_noise(pixels)
    steps = ((STEP, 0), (-STEP, 0), (0, STEP), (0, -STEP))
    turn = {"reshape": False, "order": 3, "mode": "mirror"}
    one = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))[None]
    return {
        "quarter turns": [np.rot90(pixels, k) for k in (1, 2, 3)],
        "other turns": [rotate(pixels, angle, **turn) for angle in ANGLES],
        "shifts": [shift(pixels, step, order=0, mode="mirror") for step in steps],
        "noise": [pixels + rng.normal(0, noise, pixels.shape) for _ in range(DRAWS)],
        "scale 5 % wrong": [resample(one, SCALE * w, SCALE)[0].numpy() for w in WRONG],
    }


def answers(model: LensNetwork, images: list[Image]) -> list[dict[str, Any]]:
    """Probabilities, flags and notes of images of any size."""
    by_shape = defaultdict(list)
    for i, image in enumerate(images):
        by_shape[image.shape].append(i)
    found: list[dict[str, Any]] = [{}] * len(images)
    for places in by_shape.values():
        stack = np.stack([images[i] for i in places]).astype(np.float32)
        result = model.predict(stack, pixel_scale=SCALE, resample=True)
        for i, one in zip(places, result, strict=True):
            found[i] = as_row(one)
    return found


def as_row(one: lensequiv.inference.ImagePrediction) -> dict[str, Any]:
    """What is kept of an answer."""
    probabilities = [round(p, 6) for p in one.probabilities.tolist()]
    return {"p": probabilities, "score": one.ood_score, "notes": one.notes}


def measured(
    model: LensNetwork, seen: Seen, pixels: Image, state: str, changed: bool
) -> dict[str, list[dict[str, Any]]]:
    """The answers to one lens in one state: as it is, and after every change."""
    parts = {"none": [pixels]}
    if changed:
        parts |= changes(pixels, SEED)
    flat = answers(model, [image for part in parts.values() for image in part])
    rows = {}
    for name, part in parts.items():
        rows[name], flat = flat[: len(part)], flat[len(part) :]
    if state == "as it is" and seen.path is not None:  # as anybody would do it
        result = model.predict(seen.path, resample=True, **seen.options)
        rows["none"] = [as_row(result[0])]
    return rows


def without_light(lenses: list[Seen], out: Path) -> dict[str, Image]:
    """The lenses with the galaxy subtracted, from OUT where it was done before."""
    path, found = out / "subtracted.npz", {}
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            found = dict(file)
    lacking = [seen for seen in lenses if seen.key not in found]
    for seen in tqdm(lacking, desc="lens light", disable=not lacking):
        found[seen.key] = subtracted(seen.pixels).pixels.astype(np.float32)
    if lacking:
        np.savez(path, **found)
    return found


def base_recipe(model: LensNetwork) -> str | None:
    """The recipe of a weight's training images; None if it is not on record."""
    facts = weights_facts(model, None)["recipe"]
    return facts.removesuffix("-varied") if facts else None


def measure(
    name: str, lenses: list[Seen], bare: dict[str, Image], smooth: int, out: Path
) -> dict[str, Any]:
    """All answers of a weight."""
    model = lensequiv.from_pretrained(name).eval()
    facts, recipe = weights_facts(model, name), base_recipe(model)
    path = out / f"answers-{facts['sha256'][:8]}.json"
    kept = {"classes": list(model.classes), "recipe": recipe, "lenses": {}}
    if path.exists():
        kept = json.loads(path.read_text())
    own = []
    if recipe and recipe.partition("@")[0] != "hst":
        own = simulated(recipe, 2 * smooth, smooth, SEED)
    counted: dict[str, int] = defaultdict(int)
    for seen in tqdm([*lenses, *own], desc=name):
        counted[seen.kind] += 1
        changed = seen.kind == "real" or counted[seen.kind] <= CHANGED
        if seen.key in kept["lenses"]:
            continue
        states = {"as it is": seen.pixels}
        if seen.key in bare:
            states["light subtracted"] = bare[seen.key]
        rows = {
            state: measured(model, seen, pixels, state, changed)
            for state, pixels in states.items()
        }
        about = {"lens": seen.lens, "band": seen.band, "first": seen.first}
        kept["lenses"][seen.key] = {**about, "kind": seen.kind, "states": rows}
        if len(kept["lenses"]) % 20 == 0:
            write_atomically(path, json.dumps(kept).encode(), sync=False)
    write_atomically(path, json.dumps(kept).encode(), sync=False)
    return kept


def by_size(names: list[str], count: int) -> str:
    """Share of right labels in cut-outs of the weight's own recipe, as Markdown."""
    lines = ["| weight | " + " | ".join(f"{n} x {n}" for n in SIDES) + " |"]
    lines.append("|---" * (1 + len(SIDES)) + "|")
    for name in names:
        model = lensequiv.from_pretrained(name).eval()
        recipe = base_recipe(model)
        if recipe is None:
            continue
        lenses = simulate(recipe, count, seed=SEED)
        right = []
        for side in SIDES:
            images = np.stack([centre(image.numpy(), side) for image in lenses.images])
            truth = [lenses.classes[i] for i in lenses.labels]
            found = model.predict(images).labels
            right.append(np.mean([a == b for a, b in zip(found, truth, strict=True)]))
        lines.append(
            f"| {name} | " + " | ".join(f"{100 * r:.0f}" for r in right) + " |"
        )
    return "## Right in cut-outs, in %\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path, help="folder of real lenses")
    parser.add_argument("--out", type=Path, required=True, help="folder of answers")
    parser.add_argument(
        "--weights", nargs="*", default=WEIGHTS, help="names or folders"
    )
    parser.add_argument("--also", nargs="*", type=Path, default=[], metavar="PATH")
    parser.add_argument("--pixel-scale", type=float, help="of --also without a header")
    parser.add_argument("--smooth", type=int, default=40, help="simulated lenses")
    parser.add_argument("--sizes", type=int, default=0, metavar="N")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw the figures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", OutOfDomainWarning)
    lenses = [*real_images(args.real), *other_images(args.also, args.pixel_scale)]
    hubble = simulated("hst", args.smooth, args.smooth // 2, SEED)
    bare = without_light([*lenses, *hubble], args.out)
    found = {
        name: measure(name, [*lenses, *hubble], bare, args.smooth, args.out)
        for name in args.weights
    }
    text = tables(found)
    if args.sizes:
        text += by_size(args.weights, args.sizes)
    print(text)
    (args.out / "real_lenses.md").write_text(text, encoding="utf-8")
    if args.plot:
        for path in draw(found, lenses, bare, args.plot):
            print(f"drawn to {path}")


if __name__ == "__main__":
    main()
