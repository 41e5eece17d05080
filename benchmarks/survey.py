"""The survey example with one and two actors, beside `predict_to_file`.

    python benchmarks/survey.py [--quick] [--json FILE]

All sides classify the same `.npy` files with `c8-modelF` and write Parquet; they take
turns, and rates are medians. "Whole" includes the start of the actors, which import
torch and build the network; "steady", what a long run gets, is measured between the
writing of the parts, after the first of each actor.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import ray
import torch

import lensequiv
from lensequiv.data import sample_paths
from lensequiv.files import check_output

CHUNK = 128


def example() -> ModuleType:
    """`examples/survey.py` as a module."""
    path = Path(__file__).parents[1] / "examples" / "survey.py"
    spec = importlib.util.spec_from_file_location("survey_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_images(folder: Path, count: int) -> None:
    """Copies of the bundled samples, each scaled differently."""
    samples = [np.load(path) for path in sample_paths("modelF")]
    for i in range(count):
        np.save(folder / f"{i}.npy", (samples[i % 6] * (1 + i / count)).astype("f4"))


def steady_rate(out: Path, actors: int) -> float:
    """Images per second between parts, after the first part of each actor."""
    written = sorted(path.stat().st_mtime for path in out.glob("part-*.parquet"))
    elapsed = written[-1] - written[actors - 1]
    return CHUNK * (len(written) - actors) / elapsed


def sides(folder: Path, scratch: Path, count: int) -> dict[str, Callable[[], dict]]:
    """What to time: each returns its rates, in images per second."""
    model = lensequiv.from_pretrained("c8-modelF")
    survey = example().survey

    def alone(threads: int) -> dict:
        torch.set_num_threads(threads)
        out = scratch / f"{time.time_ns()}.parquet"
        start = time.perf_counter()
        lensequiv.predict_to_file(model, folder, out, progress=False)
        return {"whole": count / (time.perf_counter() - start)}

    def actors(number: int) -> dict:
        out = scratch / str(time.time_ns())
        start = time.perf_counter()
        survey(model, [folder], out, actors=number, chunk=CHUNK)
        whole = count / (time.perf_counter() - start)
        return {"whole": whole, "steady": steady_rate(out, number)}

    return {
        "predict_to_file, 1 thread": lambda: alone(1),
        "survey, 1 actor": lambda: actors(1),
        "predict_to_file, 2 threads": lambda: alone(2),
        "survey, 2 actors": lambda: actors(2),
    }


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few images, once")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    parts, repeats = (4, 1) if args.quick else (16, 3)
    count = parts * CHUNK
    found: dict[str, dict[str, list[float]]] = {}
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as name:
        folder, scratch = Path(name, "in"), Path(name, "out")
        folder.mkdir()
        scratch.mkdir()
        write_images(folder, count)
        for _ in range(repeats):
            for side, run in sides(folder, scratch, count).items():
                for kind, rate in run().items():
                    found.setdefault(side, {}).setdefault(kind, []).append(rate)
    ray.shutdown()
    results = {
        side: {kind: statistics.median(values) for kind, values in rates.items()}
        for side, rates in found.items()
    }
    print(f"{count} images, chunks of {CHUNK}, medians of {repeats}, images/s")
    print(f"{'':28s} {'whole':>8s} {'steady':>8s}")
    for side, rates in results.items():
        steady = f"{rates['steady']:8.1f}" if "steady" in rates else ""
        print(f"{side:28s} {rates['whole']:8.1f} {steady}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
