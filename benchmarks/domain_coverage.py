"""Whether a recipe's images span those of other sets and of telescopes.

    python benchmarks/domain_coverage.py [--recipe NAME] [--originals DIR] [--real DIR]

The sixteen statistics of the out-of-distribution score
(`lensequiv.domain.image_features`) are taken of every image after the networks'
preprocessing; the table shows which share of a set lies between the recipe's 1st and
99th percentile in each. `--originals` holds `J.npz`, `I.npz`, ... with `images`; every
`.npy` and every image plane of `.fits` files below `--real` counts as a real image, its
name permitting (no PSF, noise or mask).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lensequiv.domain import image_features
from lensequiv.simulation import simulate
from lensequiv.transforms import CropAndScale

NAMES = (
    "centre",
    "edge",
    "maximum",
    "noise",
    "extent",
    "mean",
    "std",
    "third",
    "fourth",
)
NAMES += tuple(
    f"c-{name}" for name in ("mean", "std", "min", "max", "3rd", "4th", "abs")
)
SETS = ("modelF", "modelJ", "deeplensesim1", "deeplensesim2", "deeplensesim3")
NOT_IMAGES = ("psf", "noise", "mask", "rms", "segmentation", "weight")


def statistics(images: Tensor, size: int) -> Tensor:
    """(N, 16) of (N, H, W) images, cropped to a size where they are larger."""
    size = min(size, *images.shape[1:])
    prepared = CropAndScale(size)(images[:, None].float())
    return torch.cat([image_features(part) for part in prepared.split(64)])


def real_images(folder: Path) -> dict[str, Tensor]:
    """Cut-outs by name, pixels that are no numbers set to the median."""
    from astropy.io import fits

    found = {}
    for path in sorted(folder.rglob("*.npy")):
        found[path.stem] = np.load(path, allow_pickle=False)
    for path in sorted(folder.rglob("*.fits")):
        with fits.open(path) as planes:
            for i, plane in enumerate(planes):
                name = f"{path.parent.name}/{path.stem} {plane.name or i}"
                if plane.data is None or plane.data.ndim != 2:
                    continue
                if min(plane.data.shape) >= 40 and not any(
                    word in name.lower() for word in NOT_IMAGES
                ):
                    found[name] = plane.data
    result = {}
    for name, image in found.items():
        image = np.asarray(image, np.float32)
        image = np.where(np.isfinite(image), image, np.nanmedian(image))
        side = min(image.shape)
        result[name] = torch.from_numpy(image[:side, :side].copy())
    return result


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="wide")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--originals", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    wide = simulate(args.recipe, args.images, seed=77).images
    limits = {
        size: torch.quantile(
            statistics(wide, size), torch.tensor([0.0, 0.01, 0.99, 1.0]), dim=0
        )
        for size in (97, 64)
    }
    print("percentiles 0, 1, 99, 100 at 97 pixels:")
    for row in limits[97]:
        print("  " + " ".join(f"{value:8.4f}" for value in row))
    sets = {name: simulate(name, 300, seed=78).images for name in SETS}
    if args.originals:
        for path in sorted(args.originals.glob("*.npz")):
            with np.load(path, allow_pickle=False) as file:
                images = torch.from_numpy(file["images"].astype(np.float32))
            sets[f"original {path.stem}"] = images
    if args.real:
        for name, image in real_images(args.real).items():
            sets[name] = image[None]
    print(f"{'share inside, percent':36s}", " ".join(f"{n[:6]:>6s}" for n in NAMES))
    results = {}
    for name, images in sets.items():
        size = 97 if images.shape[-1] >= 97 else 64
        found = statistics(images, size)
        low, high = limits[size][1], limits[size][2]
        inside = ((found >= low) & (found <= high)).float().mean(0)
        results[name] = dict(zip(NAMES, inside.tolist(), strict=True))
        print(f"{name[:36]:36s}", " ".join(f"{100 * v:6.0f}" for v in inside))
        for i in (inside < 0.9).nonzero().ravel().tolist():
            middle = found[:, i].quantile(torch.tensor([0.01, 0.5, 0.99])).tolist()
            print(
                f"    {NAMES[i]}: {', '.join(f'{v:.4g}' for v in middle)} against "
                f"{low[i]:.4g} to {high[i]:.4g}"
            )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
