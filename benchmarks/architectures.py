"""Variants of the zoo's architecture: accuracy, off-grid error and cost of each.

    lensequiv simulate modelJ --images 38400 --seed 5012 data/search/train.h5
    lensequiv simulate modelJ --images 4500 --seed 2 data/search/val
    python benchmarks/architectures.py --data data/search --out runs/architectures \
        --steps 600 --precision fp32 [NAME ...]

Every variant is trained by `examples/train.py` with the same images in the same order;
ResNet-18 at the learning rate that suits it. Then lenses of `--recipe` without noise,
rendered anew at each angle, say how much logits and embedding change at 45 degrees and
how far the embedding wanders from 15 to 90 degrees, relative to the distance between
lenses. What is done is kept in `--out`: a killed call goes on where it ended.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

import lensequiv
from lensequiv.equivariance import RotatedLenses, orbits, rotated_lenses
from lensequiv.models import LensNetwork

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from option_types import add_precision_option  # noqa: E402

SIZE = 97
ANGLES = (15, 30, 45, 60, 75, 90)
NEW = {"stem_stride": 2, "activation": "gelu", "isotropic": True, "disc": True}
WIDE = {"stem_fields": 13, "stages": [[13] * 3, [19] * 4, [26] * 2]}
HALF = {"stem_fields": 8, "stages": [[8] * 3, [12] * 4, [16] * 2]}  # of c4's
# Name of the model, options of the model and arguments of train.py.
VARIANTS: dict[str, tuple[str, dict, list[str]]] = {
    "c8": ("c8", {}, []),
    "c8-stride-2": ("c8", {"stem_stride": 2, "activation": "gelu"}, []),
    "c8-isotropic": ("c8", NEW | {"disc": False}, []),
    "c8-disc": ("c8", NEW, []),
    "c8-pool-1.0": ("c8", NEW | {"pool_sigma": 1.0}, []),
    "c8-wide": ("c8", NEW | WIDE, []),
    "c8-turns-2": ("c8", NEW | {"turns": 2}, []),
    "c4-turns-4": ("c4", NEW | HALF | {"turns": 4}, []),
    "c4-disc": ("c4", NEW, []),
    "d4-disc": ("d4", NEW, []),
    "d8-disc": ("d8", NEW, []),
    "so2": ("so2", {}, []),
    "so2-disc": ("so2", {"disc": True}, []),
    "so2-frequency-2": ("so2", {"max_frequency": 2, "samples": 12}, []),
    "o2": ("o2", {}, []),
    "o2-disc": ("o2", {"disc": True}, []),
    "resnet18": ("resnet18", {}, ["--lr", "0.004"]),
}


def train(name: str, args: argparse.Namespace) -> dict:
    """The validation score and the seconds a step of one run, done now or before."""
    model, options, extra = VARIANTS[name]
    out = args.out / name
    result = out / "result.json"
    if not result.exists():
        command = [sys.executable, str(ROOT / "examples" / "train.py"), model]
        command += ["--data", str(args.data), "--out", str(out), "--no-test"]
        command += ["--steps", str(args.steps), "--evaluations", "1", "--ema", "0.99"]
        command += ["--norm-images", "1280"]
        command += ["--batch-size", str(args.batch_size), "--seed", str(args.seed)]
        command += ["--precision", args.precision, "--options", json.dumps(options)]
        subprocess.run([*command, *extra], check=True)
        state = torch.load(out / "checkpoint.pt", weights_only=True)
        found = {
            "auc": state["history"][-1]["auc_micro"],
            "step": state["seconds"] / args.steps,
        }
        result.write_text(json.dumps(found))
    found = json.loads(result.read_text())
    assert isinstance(found, dict)
    return found


def speed(model: LensNetwork, images: torch.Tensor) -> float:
    """Images a second of the plain form, the best of three."""
    plain = model.to_torch()
    with torch.no_grad():
        plain(images)
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            plain(images)
            seconds.append(time.perf_counter() - started)
    return len(images) / min(seconds)


def row(name: str, lenses: RotatedLenses, args: argparse.Namespace) -> str:
    """Everything about one variant, as a row of the table."""
    found = train(name, args)
    model = lensequiv.from_pretrained(args.out / name / "best")
    orbit = orbits(model, lenses)
    errors = {r.quantity: r.error for r in orbit.report().rows if r.element.angle == 45}
    images = model.preprocess(lenses.images[0][:, None])
    parameters = sum(p.numel() for p in model.parameters())
    return (
        f"| `{name}` | {parameters} | {model.multiply_adds(SIZE) / 1e9:.3f} "
        f"| {speed(model, images):.0f} | {found['step']:.2f} | {found['auc']:.4f} "
        f"| {errors['logits']:.3f} | {errors['embedding']:.3f} | {orbit.spread:.3f} |"
    )


def main() -> None:
    """Prints a row for each variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--data", type=Path, required=True, help="train.h5 and val/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    add_precision_option(parser)
    parser.add_argument("--recipe", default="modelJ", help="of the turned lenses")
    parser.add_argument("--lenses", type=int, default=24)
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(VARIANTS)):
        parser.error(f"{unknown[0]!r}: expected some of {', '.join(VARIANTS)}")
    lenses = rotated_lenses(args.recipe, args.lenses, angles=ANGLES)
    print(
        "| variant | parameters | GMAC an image | images/s | s/step | AUC "
        "| logits at 45 | embedding at 45 | spread |"
    )
    print("|---" * 9 + "|")
    for name in args.names:
        print(row(name, lenses, args), flush=True)


if __name__ == "__main__":
    main()
