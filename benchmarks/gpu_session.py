"""All that a GPU is wanted for, in one command, for a machine that is lent for minutes.

    python benchmarks/gpu_session.py --minutes 13 --out results [--wheels .whl]

Tests on the device, then `gpu.py` and its profile, `simulation.py` against caustics on
the same card, and with the time that is left `examples/campaign.py`, whose default list
holds the weights that are worth training next. Each has its share of the time, and what
fails or runs over does not stop the others; but nothing else is begun where not even a
first lens can be simulated on the device. `OUT` holds a log and a JSON file of each,
and `campaign.tar` with the weights, from their first improvement on. Packages that the
machine lacks are installed from `--wheels`, for this command alone; no network is
needed. `--device cpu --quick --minutes 8 --campaign d4-modelJ` tries the commands on
any machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST_LENS = (
    "import sys, lensequiv.simulation as s; "
    "stream = s.LensStream('modelJ', seed=1, chunk=24, device=sys.argv[1]); "
    "print(next(stream.chunks(0)).images.mean().item())"
)
TESTED = ["tests/devices", "tests/simulation", "tests/inference/test_on_devices.py"]
CLEANING_UP = 5.0
"""Seconds that a command gets to end by itself before it is killed."""


@dataclass(frozen=True)
class Task:
    """A command of the session."""

    name: str
    seconds: float
    """At most; what a task does not use is the campaign's."""

    arguments: list[str]
    """Of Python."""


def tasks(device: str, out: Path, *, quick: bool) -> list[Task]:
    """What comes before the campaign, in this order."""
    quickly = ["--quick"] * quick
    timing = ["benchmarks/gpu.py", "--device", device, *quickly]
    tested = (
        ["tests/devices/test_device_placement.py"] if quick else [*TESTED, "-n", "8"]
    )
    profile = ["--profile", *["--batch-size", "4"] * quick]
    return [
        Task(
            "tests",
            90,
            ["-m", "pytest", *tested, "--device", device, "-q"],
        ),
        Task(
            "gpu",
            150,
            [*timing, "--minutes", "2.2", "--json", str(out / "gpu.json")],
        ),
        Task("profile", 30, [*timing, *profile, "--json", str(out / "profile.json")]),
        Task(
            "simulation",
            90,
            [
                *("benchmarks/simulation.py", "--device", device, "--quick"),
                *("--recipes", "modelJ", *["wide"] * (not quick)),
                *("--json", str(out / "simulation.json")),
            ],
        ),
    ]


def run(task: Task, out: Path, environment: dict[str, str]) -> dict[str, object]:
    """Runs a task and keeps what it prints; returns its exit code and seconds."""
    print(f"== {task.name}, at most {task.seconds:.0f} s", flush=True)
    started = time.monotonic()
    with (out / f"{task.name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *task.arguments],
            **{"cwd": ROOT, "env": environment, "stdout": log, "stderr": log},
        )
        try:
            code: int | str = process.wait(max(task.seconds, 1.0))
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(CLEANING_UP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            code = "out of time"
    lines = (out / f"{task.name}.log").read_text().replace("\r", "\n").splitlines()
    print("\n".join(lines[-12:]), flush=True)
    seconds = round(time.monotonic() - started, 1)
    return {"name": task.name, "exit": code, "seconds": seconds}


def install(wheels: Path) -> str:
    """Unpacks the wheels of a folder; returns the folder to import them from."""
    place = tempfile.mkdtemp(prefix="wheels-")
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise SystemExit(f"{wheels} holds no wheels")
    quiet = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "install", *quiet, "--target", place]
    subprocess.run([*command, *files], check=True)
    return place


def main() -> None:
    """Runs everything within the minutes."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, required=True, help="for everything")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--wheels", type=Path, help="folder of packages to install")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="as little as possible")
    parser.add_argument("--campaign", nargs="*", default=[], help="names; all if none")
    parser.add_argument("--list", type=Path, help="of the campaign, see campaign.py")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    paths = [str(ROOT), *([install(args.wheels)] if args.wheels else [])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # for the tests of determinism
    }
    done = [run(Task("check", 60, ["-c", FIRST_LENS, args.device]), out, environment)]
    ended = args.minutes * 60 - CLEANING_UP

    def left() -> float:
        return ended - (time.monotonic() - started)

    if done[0]["exit"] == 0:
        for task in tasks(args.device, out, quick=args.quick):
            if left() > task.seconds:
                done.append(run(task, out, environment))
        campaign = ["examples/campaign.py", *args.campaign]
        campaign += [] if args.list is None else ["--list", str(args.list.resolve())]
        campaign += ["--minutes", f"{max(left() - 20, 6) / 60:.3f}"]
        campaign += ["--out", tempfile.mkdtemp(prefix="campaign-")]
        campaign += ["--archive", str(out / "campaign.tar")]
        if left() > 0:
            done.append(run(Task("campaign", left(), campaign), out, environment))
    (out / "session.json").write_text(json.dumps(done, indent=1))
    print(json.dumps(done, indent=1))
    sys.exit(0 if all(task["exit"] == 0 for task in done) else 1)


if __name__ == "__main__":
    main()
