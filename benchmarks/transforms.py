"""Turning images: the 2021 chain beside batches of tensors, and beside the truth.

    python benchmarks/transforms.py [--quick] [--json FILE]

The truth is the same lens rendered at that angle by the simulator, without noise. Both
sides turn the upright rendering; errors are root mean squares over the inner disc, in
units of the peak. The 2021 chain (up three times, turn with bilinear interpolation,
down three times; image by image, through Pillow's 8 bits) is also run without the 8
bits, on float tensors, to tell its interpolation from its quantisation.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from lensequiv.files import check_output
from lensequiv.simulation import model_f, simulate
from lensequiv.transforms import rotate

SIZE, ANGLE = 129, 33.0
# An odd frame, so that the lens is centred on a pixel.
RECIPE = replace(model_f, name="odd", pixels=151)


def chain_of_2021(images: Tensor) -> Tensor:
    """Per image, in 8 bits, as the study's authors had it."""
    out = []
    for image in tv.center_crop(images, [SIZE]):
        grey = (image[0] / image.max() * 255).byte().numpy()
        picture = tv.resize(Image.fromarray(grey), [3 * SIZE])
        # Pillow has row 0 at the top, where our anticlockwise is its clockwise.
        picture = tv.rotate(picture, -ANGLE, InterpolationMode.BILINEAR)
        turned = tv.pil_to_tensor(tv.resize(picture, [SIZE]))
        out.append(turned.float() / 255 * image.max())
    return torch.stack(out)


def chain_in_float(images: Tensor) -> Tensor:
    """The same steps on a batch of float tensors."""
    x = tv.resize(tv.center_crop(images, [SIZE]), [3 * SIZE], antialias=True)
    x = tv.rotate(x, -ANGLE, InterpolationMode.BILINEAR)
    return tv.resize(x, [SIZE], antialias=True)


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repetitions, not 11")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    upright = simulate(RECIPE, 66, seed=0, noise=False).images[:, None]
    turned = simulate(RECIPE, 66, seed=0, noise=False, rotation=ANGLE).images[:, None]
    truth = tv.center_crop(turned, [SIZE])
    axis = torch.arange(SIZE) - SIZE // 2
    disc = axis[:, None] ** 2 + axis**2 < (SIZE // 2 - 2) ** 2
    sides: dict[str, Callable[[Tensor], Tensor]] = {
        "2021 chain": chain_of_2021,
        "2021 chain in float": chain_in_float,
        "lensequiv rotate": lambda x: rotate(x, ANGLE, SIZE),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(4 if args.quick else 12):
        for name, side in sides.items():
            start = time.perf_counter()
            side(upright)
            if i > 0:  # the first one warms up
                times[name].append(time.perf_counter() - start)
    results = {}
    for name, side in sides.items():
        error = (side(upright) - truth)[..., disc] / truth.amax((2, 3))
        results[name] = {
            "images/s": len(upright) / statistics.median(times[name]),
            "error / peak": float(error.square().mean().sqrt()),
        }
    first = results["2021 chain"]["images/s"]
    for name, row in results.items():
        print(
            f"{name:22s} {row['images/s']:8.0f} images/s  "
            f"{row['images/s'] / first:6.1f} x   error {row['error / peak']:.1e}"
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
