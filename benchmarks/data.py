"""From files on disk to batches for the network: lensequiv beside the chain of 2021.

    python benchmarks/data.py [--quick] [--json FILE]

Both read the same simulated `.npy` files, made for the purpose, and return 129 x 129
pixels; the sides take turns, and times are medians. The chain of 2021 is the one of its
authors' code: `numpy.load`, division by the maximum, 8-bit Pillow image, torchvision's
crop to 128, padding to 129, enlargement to 387, rotation, reduction to 129 and
`ToTensor`, file by file, stacked to batches. On our side `RandomPose` turns every image
by any angle, as there, and `CropAndScale` brings sky and peak to 0 and 1.

Single-threaded by default, since a data loader has a process for each core.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as tv

from lensequiv.data import ClassFolder, HDF5Images, read_image
from lensequiv.files import check_output
from lensequiv.simulation import simulate
from lensequiv.transforms import CropAndScale, RandomPose

BATCH = 64

Batches = Callable[[], Iterator[Tensor]]


def chain_of_2021(paths: list[Path], rotate: bool) -> Iterator[Tensor]:
    """The authors' preprocessing for training, or, without rotation, for testing."""
    turned = [
        tv.Resize(387),
        tv.RandomRotation(180, tv.InterpolationMode.BILINEAR),
        tv.Resize(129),
    ]
    steps = tv.Compose(
        [
            tv.RandomCrop(128),
            tv.Pad((0, 0, 1, 1), fill=0),
            *(turned if rotate else []),
            tv.ToTensor(),
        ]
    )

    def one(path: Path) -> Tensor:
        image = np.load(path)
        return steps(Image.fromarray((image / image.max() * 255).astype("uint8")))

    for start in range(0, len(paths), BATCH):
        yield torch.stack([one(path) for path in paths[start : start + BATCH]])


def files(paths: list[Path]) -> Iterator[Tensor]:
    """Read file by file, every check included."""
    for start in range(0, len(paths), BATCH):
        batch = [read_image(path) for path in paths[start : start + BATCH]]
        yield torch.from_numpy(np.stack(batch))


def prepared(raw: Iterator[Tensor], rotate: bool) -> Iterator[Tensor]:
    """Our preprocessing, on whole batches."""
    pose, scale = RandomPose(129, rotate=1.0), CropAndScale(129)
    for images in raw:
        yield scale(pose(images)) if rotate else scale(images)


def seconds(side: Batches, n: int) -> float:
    """Time that all batches take; their shape is verified."""
    start = time.perf_counter()
    count = 0
    for batch in side():
        if batch.shape[1:] != (1, 129, 129) or batch.dtype != torch.float32:
            raise RuntimeError(f"expected 1 x 129 x 129 float32, found {batch.shape}")
        count += len(batch)
    if count != n:
        raise RuntimeError(f"expected {n} images, found {count}")
    return time.perf_counter() - start


def write(folder: Path, n: int) -> ClassFolder:
    """Simulated Model F lenses as class folders and, beside them, as `images.h5`."""
    made = simulate("modelF", n, seed=1)
    images, labels = made.images.numpy(), made.labels.numpy()
    names = ("no", "sphere", "vort")
    for name in names:
        (folder / "set" / name).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        np.save(folder / "set" / names[label] / f"{i}.npy", image)
    with h5py.File(folder / "images.h5", "w") as file:
        file["images"], file["labels"] = images, labels
        file.attrs.create("classes", names, dtype=h5py.string_dtype())
    return ClassFolder(folder / "set")


def hdf5(path: Path) -> Iterator[Tensor]:
    """Read image by image from one HDF5 file, every check included."""
    data = HDF5Images(path)
    for start in range(0, len(data), BATCH):
        stop = min(start + BATCH, len(data))
        yield torch.stack([data[i][0] for i in range(start, stop)])


def sides(folder: Path, data: ClassFolder) -> dict[str, dict[str, Batches]]:
    """What is compared: title -> name -> batches; the first is the reference."""
    paths = data.paths
    store = folder / "images.h5"

    def chains(rotate: bool) -> dict[str, Batches]:
        return {
            "2021": lambda: chain_of_2021(paths, rotate),
            "lensequiv, .npy": lambda: prepared(files(paths), rotate),
            "lensequiv, .h5": lambda: prepared(hdf5(store), rotate),
        }

    return {
        "training: read, turn at random, scale": chains(rotate=True),
        "testing: read, crop, scale": chains(rotate=False),
    }


def reading(data: ClassFolder) -> dict[str, Callable[[], object]]:
    """Reading alone, into one array: `numpy.load` checks nothing."""
    return {
        "numpy.load": lambda: np.stack([np.load(path) for path in data.paths]),
        "load_arrays": lambda: data.load_arrays(progress=False),
        "check": lambda: data.check(progress=False),
    }


def elapsed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few files, 3 repetitions")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    n, repeats = (192, 3) if args.quick else (1536, 7)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        data = write(Path(name), n)
        timers: dict[str, dict[str, Callable[[], float]]] = {
            title: {
                key: (lambda side=side: seconds(side, n)) for key, side in group.items()
            }
            for title, group in sides(Path(name), data).items()
        }
        timers["reading alone"] = {
            key: (lambda call=call: elapsed(call))
            for key, call in reading(data).items()
        }
        for title, group in timers.items():
            times: dict[str, list[float]] = {key: [] for key in group}
            for i in range(repeats + 1):
                for key, timer in group.items():
                    value = timer()
                    if i > 0:  # the first one warms up
                        times[key].append(value)
            results[title] = {
                key: n / statistics.median(values) for key, values in times.items()
            }
    print(f"{n} images of 150 x 150 to 129 x 129, medians of {repeats}")
    for title, rates in results.items():
        first = next(iter(rates.values()))
        print(title)
        for key, rate in rates.items():
            print(f"  {key:20s} {rate:9.0f} images/s   {rate / first:7.1f} x")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
