"""The search behind the zoo's architecture: short runs on Model J, validation only.

    lensequiv simulate modelJ@1 --images 98304 --seed 5011 data/search/train.h5
    lensequiv simulate modelJ@1 --images 4500 --seed 2 data/search/val
    python benchmarks/search.py --data data/search --out runs/search [NAME ...]

Each run sees 96,000 images once, with `examples/train.py`'s defaults but for what its
row says, and is scored half way and at the end. What is done is kept in `--out`: a
killed call goes on where it ended.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

import lensequiv

ROOT = Path(__file__).parents[1]
SIZE = 97
# The architecture of the first two weights, with which the search began.
SHALLOW = {
    "stages": [[8], [12, 12], [16]],
    "kernel": 5,
    "statistics": ["mean", "max", "std"],
}
# Arguments of train.py and options of the model, by what is tried.
RUNS = {
    "5x5-no-map": (["--map-weight", "0"], SHALLOW),
    "5x5-map-0.3": (["--map-weight", "0.3"], SHALLOW),
    "5x5-map-1": (["--map-weight", "1"], SHALLOW),
    "5x5-map-3": (["--map-weight", "3"], SHALLOW),
    "5x5-map-10": ([], SHALLOW),
    "5x5-map-30": (["--map-weight", "30"], SHALLOW),
    "5x5-wide-end": (
        [],
        {
            "stages": [[8], [16, 16], [32]],
            "kernel": 5,
        },
    ),
    "3x3": ([], {}),
    "3x3-no-map": (["--map-weight", "0"], {}),
    "3x3-max": ([], {"statistics": ["mean", "max", "std"]}),
    "3x3-lr-0.02": (["--lr", "0.02"], {}),
    "3x3-lr-0.008": (["--lr", "0.008"], {}),
    "3x3-deeper": ([], {"stages": [[8] * 4, [12] * 6, [16] * 3]}),
    "3x3-wider": ([], {"stem_fields": 12, "stages": [[12] * 3, [18] * 4, [24] * 2]}),
    "3x3-stem-9": ([], {"stem_kernel": 9}),
    "3x3-129-pixels": (["--size", "129"], {}),
    "3x3-81-pixels": (["--size", "81"], {}),
}


def train(name: str, args: argparse.Namespace) -> tuple[float, list[dict]]:
    """Seconds and validation scores of one run, done now unless it was before."""
    extra, options = RUNS[name]
    out = args.out / name
    result = out / "search.json"
    if not result.exists():
        command = [sys.executable, str(ROOT / "examples" / "train.py"), "c8"]
        command += ["--data", str(args.data), "--out", str(out), "--no-test"]
        command += ["--steps", "1500", "--evaluations", "2", "--ema", "0.995"]
        command += ["--options", json.dumps(options), *extra]
        started = time.monotonic()
        subprocess.run(command, check=True)
        state = torch.load(out / "checkpoint.pt", weights_only=True)
        found = {"seconds": time.monotonic() - started, "history": state["history"]}
        result.write_text(json.dumps(found))
    found = json.loads(result.read_text())
    return found["seconds"], found["history"]


def main() -> None:
    """Prints a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(RUNS), metavar="NAME")
    parser.add_argument("--data", type=Path, required=True, help="train.h5 and val/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    args = parser.parse_args()
    print("| run | parameters | GMAC an image | seconds | AUC half way | AUC |")
    print("|---|---|---|---|---|---|")
    for name in args.names:
        extra, options = RUNS[name]
        size = int(extra[extra.index("--size") + 1]) if "--size" in extra else SIZE
        model = lensequiv.create_model("c8", **options)
        parameters = sum(p.numel() for p in model.parameters())
        seconds, history = train(name, args)
        half, end = (h["auc_micro"] for h in history)
        print(
            f"| `{name}` | {parameters} | {model.multiply_adds(size) / 1e9:.3f} "
            f"| {seconds:.0f} | {half:.4f} | {end:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
