"""Real lenses beside simulated ones, in the same stretch.

    python benchmarks/real_beside_simulated.py REAL telescopes.png [--seed N]

REAL holds `slacs13_hst/*.npy` (Hubble, F814W, electrons per second) and
`euclid_q1/*.fits` (with a plane whose name begins with VIS). Each row mixes real and
simulated lenses; the titles tell which is which. Values are arcsinh of the difference
to the median of the frame's edge, in units of three times its noise.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lensequiv.simulation import simulate

Image = NDArray[np.float64]
SIDE, COLUMNS = 100, 10


def stretched(image: Image) -> Image:
    """What is shown of an image."""
    edge = np.concatenate([image[:8].ravel(), image[-8:].ravel()])
    step = np.abs(np.diff(image[:8], axis=1))
    return np.arcsinh((image - np.median(edge)) / (3 * 1.48 * np.median(step) / 2**0.5))


def centre(image: Image) -> Image:
    """The central SIDE x SIDE pixels."""
    top, left = ((side - SIDE) // 2 for side in image.shape)
    return image[top : top + SIDE, left : left + SIDE]


def real(folder: Path) -> dict[str, list[Image]]:
    """Real images by the recipe that they stand beside."""
    from astropy.io import fits

    hubble = [
        centre(np.load(path, allow_pickle=False).astype(float))
        for path in sorted((folder / "slacs13_hst").glob("*.npy"))
    ]
    euclid = []
    for path in sorted((folder / "euclid_q1").glob("*.fits")):
        with fits.open(path) as planes:
            euclid += [
                centre(plane.data.astype(float))
                for plane in planes
                if plane.name.startswith("VIS") and "PSF" not in plane.name
                if "RMS" not in plane.name
            ]
    return {"hst": hubble, "euclid": euclid}


def simulated(name: str, count: int, seed: int) -> list[Image]:
    """Lenses of a recipe, whose light was not subtracted, of all its classes."""
    lenses = simulate(name, 4 * count, seed=seed)
    subtracted = (lenses.parameters["light_amplitude"] < 0).any(1)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~subtracted))
    return [centre(lenses.images[i].double().numpy()) for i in order[:count]]


def main() -> None:
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = real(args.real)
    figure = Figure(figsize=(1.2 * COLUMNS, 1.35 * 3), layout="constrained")
    rng = np.random.default_rng(args.seed)
    panels = []
    for name, rows in (("hst", 2), ("euclid", 1)):
        count = rows * COLUMNS
        known = found[name][: count // 2]
        made = simulated(name, count - len(known), args.seed)
        shown = [("real", i) for i in known] + [(f"simulated: {name}", i) for i in made]
        panels += [shown[i] for i in rng.permutation(count)]
    for place, (title, image) in enumerate(panels):
        panel = figure.add_subplot(3, COLUMNS, place + 1)
        panel.imshow(stretched(image), cmap="gray", origin="lower")
        panel.set_title(title, fontsize=6, pad=2)
        panel.axis("off")
    figure.savefig(args.picture, dpi=85)
    print(f"{len(panels)} lenses in {args.picture}")


if __name__ == "__main__":
    main()
