"""What each component of a recipe costs, beside lenstronomy making the same image.

    python benchmarks/simulation_components.py [--images N] [--json FILE]

Processor time of one thread an image of 150 x 150 pixels and 2 x 2 rays a pixel,
without noise. Each component is added to Model F's smooth lens, all of whose sources
then have it; below stand whole recipes. lenstronomy gets its arguments ready-made. The
images are compared first.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from lensequiv.files import check_output
from lensequiv.simulation import (
    Blur,
    Clumps,
    Galaxies,
    Halos,
    LensLight,
    LenstronomyModel,
    Neighbours,
    NoSubstructure,
    PowerLaw,
    PSFImages,
    Recipe,
    Subhalos,
    Vortex,
    get_recipe,
    model_f,
    simulate,
    to_lenstronomy,
)

PLAIN = replace(model_f, name="plain", substructure={"no": NoSubstructure()})


def _with(substructure: object) -> Recipe:
    return replace(PLAIN, substructure={"some": substructure})


RECIPES = {
    "isothermal sphere, shear, Sersic": PLAIN,
    "elliptical power law": replace(PLAIN, deflector=PowerLaw((1.8, 2.2), (0.5, 0.9))),
    "multipoles": replace(
        PLAIN, deflector=PowerLaw(third=(0.01, 0.02), fourth=(0.01, 0.02))
    ),
    "25 point masses": _with(Subhalos(number=25, poisson=False)),
    "vortex of 100 masses": _with(Vortex()),
    "10 NFW halos": _with(Halos(number=10)),
    "10 truncated NFW halos": _with(Halos(number=10, truncation=(3.0, 10.0))),
    "10 isothermal halos": _with(Halos(number=10, profile="sis")),
    "lens light": replace(PLAIN, lights=(LensLight(share=1.0, second=1.0),)),
    "neighbours and stars": replace(
        PLAIN, lights=(Neighbours(2.0, 2.0, distance=(1.2, 2.2)),)
    ),
    "clumps": replace(PLAIN, lights=(Clumps(share=1.0),)),
    "picture of a galaxy": replace(PLAIN, lights=(Galaxies(),)),
    "Moffat profile, 21 pixels": replace(
        PLAIN, blur=Blur((2.0, 3.0), moffat=1.0), psf_size=21
    ),
    "picture of a star, 21 pixels": replace(PLAIN, blur=PSFImages(), psf_size=21),
    **{name: get_recipe(name) for name in ("modelJ", "wide", "hst", "euclid")},
}


def milliseconds(work: Callable[[], object], images: int) -> float:
    """Processor time an image."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / images * 1e3


def measure(recipe: Recipe, images: int) -> dict[str, float]:
    """Times of both sides, medians of three turns, and the largest difference."""
    sample = simulate(recipe, images, seed=1, noise=False, workers=1)
    few = range(0, images, max(1, images // 9))
    models = [to_lenstronomy(sample, i) for i in few]
    reference = [LenstronomyModel.image(model) for model in models]
    error = max(
        np.abs(sample.images[i].double().numpy() - image).max() / np.abs(image).max()
        for i, image in zip(few, reference, strict=True)
    )
    ours, theirs = [], []
    for _ in range(3):
        ours.append(
            milliseconds(
                lambda: simulate(recipe, images, seed=2, noise=False, workers=1), images
            )
        )
        theirs.append(milliseconds(lambda: [m.image() for m in models], len(models)))
    found = {"lensequiv, ms": np.median(ours), "lenstronomy, ms": np.median(theirs)}
    found["ratio"] = found["lenstronomy, ms"] / found["lensequiv, ms"]
    return {name: float(value) for name, value in found.items()} | {"error": error}


def main() -> None:
    """Prints a row for each component."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    print("| | lensequiv, ms | lenstronomy, ms | ratio | largest difference |")
    print("|---|---|---|---|---|")
    for name, recipe in RECIPES.items():
        found = results[name] = measure(recipe, args.images)
        print(
            f"| {name} | {found['lensequiv, ms']:.1f} | {found['lenstronomy, ms']:.0f} "
            f"| {found['ratio']:.0f} | {found['error']:.0e} |",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
