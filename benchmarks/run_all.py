"""Every benchmark, one after the other; with --quick in a few minutes.

python benchmarks/run_all.py [--quick] [--json FOLDER]
"""

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "load",
    "predict",
    "train_step",
    "layers",
    "growth",
    "transforms",
    "simulation",
    "data",
    "survey",
    "out_of_distribution",
)


def main() -> None:
    """Runs the scripts; stops at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="passed on")
    parser.add_argument("--json", type=Path, help="folder for a file from each")
    args = parser.parse_args()
    if args.json:
        args.json.mkdir(parents=True, exist_ok=True)
    for name in SCRIPTS:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py"))]
        command += ["--quick"] * args.quick
        if args.json:
            command += ["--json", str(args.json / f"{name}.json")]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
