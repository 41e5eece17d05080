"""Import time beside torch's, and the time from a name to the first prediction.

    python benchmarks/import_and_load.py [--quick]

Each measurement is a fresh interpreter; the table shows medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

_IMAGE = (
    "import torch, numpy as np; x = np.random.default_rng(0).poisson(9, (150, 150))"
)
CASES = {
    "import torch": ("", "import torch"),
    "import torch, lensequiv": ("", "import torch, lensequiv"),
    "import lensequiv, after torch": ("import torch", "import lensequiv"),
    "c8-modelF: name to first prediction": (
        _IMAGE,
        "import lensequiv; lensequiv.from_pretrained('c8-modelF').predict(x)",
    ),
    "c8-modelJ: name to first prediction": (
        _IMAGE,
        "import lensequiv; lensequiv.from_pretrained('c8-modelJ').predict(x)",
    ),
}


def seconds(setup: str, statement: str) -> float:
    """Wall time of a statement in a fresh interpreter."""
    code = (
        f"import time, warnings; warnings.simplefilter('ignore'); {setup}\n"
        f"t = time.perf_counter(); {statement}\nprint(time.perf_counter() - t)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repetitions, not 11")
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    runs: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(3 if args.quick else 11):  # interleaved: load hits all alike
        for name, case in CASES.items():
            runs[name].append(seconds(*case))
    medians = {name: statistics.median(times) for name, times in runs.items()}
    for name, value in medians.items():
        print(f"{name:40s} {value:7.3f} s")
    ratio = medians["import torch, lensequiv"] / medians["import torch"]
    print(f"{'torch and lensequiv over torch':40s} {ratio:7.3f}")
    if args.json:
        with Path(args.json).open("w", encoding="utf-8") as file:
            json.dump({"medians": medians, "runs": runs}, file, indent=2)


if __name__ == "__main__":
    main()
