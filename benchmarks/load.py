"""Import time beside torch's, and the time from a name to the first prediction.

    python benchmarks/load.py [--quick]

Each measurement is a fresh interpreter; the table shows medians of time and of the
interpreter's peak memory.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import lensequiv
from lensequiv.files import check_output

_IMAGE = (
    "import torch, numpy as np; x = np.random.default_rng(0).poisson(9, (150, 150))"
)
_FOLDER = str(Path(__file__).parent)
# The six convolutions of the 2021 network, as e2cnn builds and initialises them; its
# other layers cost nothing beside them.
_BY_E2CNN = """
space = gspaces.FlipRot2dOnR2(8)
kind = nn.FieldType(space, [space.trivial_repr])
for fields, kernel in zip((24, 48, 48, 96, 96, 64), (7, 5, 5, 5, 5, 5)):
    out = nn.FieldType(space, fields * [space.regular_repr])
    nn.R2Conv(kind, out, kernel, bias=False)
    kind = out
"""
CASES = {
    "import torch": ("", "import torch"),
    "import torch, lensequiv": ("", "import torch, lensequiv"),
    "import lensequiv, after torch": ("import torch", "import lensequiv"),
    **{
        f"{name}: name to first prediction": (
            _IMAGE,
            f"import lensequiv; lensequiv.from_pretrained({name!r}).predict(x)",
        )
        for name in lensequiv.list_pretrained()
    },
    "create_model('d8')": ("import lensequiv", "lensequiv.create_model('d8')"),
    "create_model('singh2021-d8')": (
        "import lensequiv",
        "lensequiv.create_model('singh2021-d8')",
    ),
    "singh2021-d8 by e2cnn, initialised": (
        "import lensequiv._e2cnn; from e2cnn import gspaces, nn",
        _BY_E2CNN,
    ),
}


def measured(setup: str, statement: str) -> tuple[float, float]:
    """Seconds and peak memory (GiB) of a statement in a fresh interpreter."""
    code = (
        f"import sys, time, warnings; sys.path.insert(0, {_FOLDER!r})\n"
        f"from memory import peak_kib; warnings.simplefilter('ignore'); {setup}\n"
        f"t = time.perf_counter()\n{statement}\nt = time.perf_counter() - t\n"
        "print(t, peak_kib() / 2**20)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repetitions, not 11")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for i in range(3 if args.quick else 11):  # interleaved: load hits all alike
        for name, case in CASES.items():
            if i == 0 or case[1] != _BY_E2CNN:  # a minute each
                runs[name].append(measured(*case))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in runs.items()
    }
    for name, (seconds, peak) in medians.items():
        print(f"{name:40s} {seconds:7.3f} s  {peak:6.2f} GiB at most")
    torch_alone = medians["import torch"][0]
    ratio = medians["import torch, lensequiv"][0] / torch_alone
    print(f"{'torch and lensequiv over torch':40s} {ratio:7.3f}")
    if args.json:
        result = {"medians": medians, "runs": runs}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
