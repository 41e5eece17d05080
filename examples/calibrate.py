"""Fit a weight's temperature and out-of-distribution score to validation images.

    python examples/calibrate.py runs/mine/weights --images data/modelF/val

Changes the folder in place. `examples/train.py` does the same at its end; this is for
weights that were trained without it, or fine-tuned otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lensequiv
from lensequiv.data import open_dataset
from lensequiv.inference import calibrate


def main() -> None:
    """Loads, fits, saves."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("weights", type=Path, help="folder written by save_pretrained")
    p.add_argument(
        "--images",
        type=Path,
        required=True,
        help="class folders, or an HDF5 file, of images that it was not trained on",
    )
    p.add_argument(
        "--plane", "--hdu", help="which image, where files have several: its name"
    )
    p.add_argument("--false-alarms", type=float, default=0.01)
    args = p.parse_args()
    model = lensequiv.from_pretrained(args.weights)
    data = open_dataset(args.images, model.classes, plane=args.plane)
    calibrate(
        model,
        data.load_arrays(),
        data.labels,
        false_alarms=args.false_alarms,
        progress=True,
    )
    model.save_pretrained(args.weights)
    print(f"temperature {model.temperature:.3f}; written to {args.weights}")


if __name__ == "__main__":
    main()
