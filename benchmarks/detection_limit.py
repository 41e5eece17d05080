r"""What no classifier can do better, and how far the networks are from it.

    python benchmarks/detection_limit.py lenses --out runs/limit --recipe modelJ \
        --weights c8-modelJ@2 d8-modelJ@2 ResNet-18=runs/resnet18-modelJ/best
    python benchmarks/detection_limit.py ideal --out runs/limit --recipe modelJ
    python benchmarks/detection_limit.py fits --out runs/limit --recipe modelJ
    python benchmarks/detection_limit.py report --out runs/limit --plot limit.png

`lenses` simulates fresh lenses and keeps what networks say of them, with the
signal-to-noise ratio of their substructure. `ideal` computes what observers could do
that know the lens and that the substructure is one of a few (`ideal_observer.py`).
`fits` looks for the substructure by fitting single images (`limit_fits.py`). Each keeps
what is done in a folder: a killed call goes on where it ended. `report` prints the
tables of `docs/limits.md` and draws their figure (`limit_report.py`).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import ideal_observer
import limit_fits
import limit_report
import limit_scores
import numpy as np
import torch
from tqdm.auto import tqdm

import lensequiv
from lensequiv.domain import OutOfDomainWarning
from lensequiv.files import check_output
from lensequiv.plots import check_picture
from lensequiv.simulation import get_recipe
from lensequiv.simulation._blocks import simulate_range

BLOCK = 100  # lenses that are kept together


def named(weights: list[str]) -> dict[str, str]:
    """Names for tables and what `from_pretrained` takes, from NAME or TITLE=NAME."""
    pairs = [text.split("=", 1) if "=" in text else (text, text) for text in weights]
    return dict(pairs)


def measure_lenses(args: argparse.Namespace) -> None:
    """Signals and logits of fresh lenses, one file for each block and class."""
    recipe = get_recipe(args.recipe)
    models = {
        title: lensequiv.from_pretrained(name, device=args.device)
        for title, name in named(args.weights).items()
    }
    blocks = [
        (start, label, min(start + BLOCK, number))
        for label, number in enumerate(args.lenses)
        for start in range(0, number, BLOCK)
    ]
    for start, label, stop in tqdm(sorted(blocks), "blocks of lenses"):
        path = args.out / f"{recipe.name}-lenses-{label}-{start:05d}.npz"
        kept = dict(np.load(path)) if path.exists() else {}
        todo = {title: model for title, model in models.items() if title not in kept}
        if "snr" in kept and not todo:
            continue
        images, lenses = simulate_range(recipe, label, args.seed, start, stop)
        if "snr" not in kept:
            kept["snr"] = ideal_observer.signal_to_noise(recipe, label, lenses)
        for title, model in todo.items():
            kept[title] = model.predict(images).logits.double().numpy()
        save(path, kept)


def measure_ideal(args: argparse.Namespace) -> None:
    """Gram matrices of possible substructure, one file for each lens."""
    recipe = get_recipe(args.recipe)
    for index in tqdm(range(args.ideal_lenses), "lenses"):
        path = args.out / f"{recipe.name}-ideal-{args.candidates}-{index:04d}.npz"
        if not path.exists():
            rng = np.random.default_rng([args.ideal_seed, index])
            save(path, ideal_observer.grams(recipe, args.candidates, rng))


def measure_fits(args: argparse.Namespace) -> None:
    """Fits of some of the lenses, one file each."""
    recipe = get_recipe(args.recipe)
    lenses = limit_scores.read_lenses(args.out, recipe.name)
    fits = limit_fits.chosen(lenses.label, lenses.snr, args.fits)
    for label, index in tqdm(fits, "fits"):
        path = args.out / f"{recipe.name}-fit-{label}-{index:05d}.npz"
        if not path.exists():
            image, _ = simulate_range(recipe, label, args.seed, index, index + 1)
            save(path, limit_fits.gains(image[0].numpy()))


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a file that is complete as soon as it has its name."""
    partly = path.with_suffix(".part.npz")
    np.savez(partly, **arrays)
    partly.replace(path)


def main() -> None:
    """Does one step."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("step", choices=["lenses", "ideal", "fits", "report"])
    p.add_argument("--out", type=Path, required=True, help="folder of what is done")
    p.add_argument("--recipe", default="modelJ")
    p.add_argument("--weights", nargs="*", default=[], help="NAME or TITLE=FOLDER")
    p.add_argument(
        "--lenses", type=int, nargs=3, default=[2000] * 3, help="no, sphere, vort"
    )
    p.add_argument("--seed", type=int, default=4242)
    p.add_argument("--ideal-lenses", type=int, default=40)
    p.add_argument("--candidates", type=int, default=256, help="of each class")
    p.add_argument("--ideal-seed", type=int, default=4243)
    p.add_argument("--fits", type=int, default=48, help="lenses of each class")
    p.add_argument("--device", default="cpu", help="of the networks")
    p.add_argument("--plot", type=Path, help="picture of the report (extra: plots)")
    p.add_argument("--json", type=Path, help="numbers of the report")
    args = p.parse_args()
    if args.plot:
        check_picture(args.plot)
    if args.json:
        check_output(args.json)
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", OutOfDomainWarning)
    torch.set_num_threads(1)
    steps = {
        "lenses": measure_lenses,
        "ideal": measure_ideal,
        "fits": measure_fits,
        "report": limit_report.report,
    }
    steps[args.step](args)


if __name__ == "__main__":
    main()
