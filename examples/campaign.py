"""Train a list of weights within a given time, for instance that of a lent GPU.

    python examples/campaign.py --minutes 9 --out runs/campaign --archive weights.tar

Each run of the list gets its share of the minutes that are left, with its own recipes,
options and start; `--list FILE` takes another list (JSON, see `CAMPAIGN`), names choose
among it. `OUT/NAME/best` is a loadable weight from a run's first evaluation on,
replaced whenever the validation images say that it got better, and complete at any
second. `--archive` packs all of them into one file after every improvement, and leaves
out what would make it larger than `--archive-mb`. Started again with the same `--out`,
a campaign skips what is finished and goes on with the run that was cut short. All
images are simulated, so it needs no data set and no network.

What a campaign made is tested and given its card by `examples/finish.py`.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import torch
from option_types import number
from options import arguments
from train import Training, accelerator_of

from lensequiv.files import check_output, write_atomically

NEW: dict[str, Any] = {"stem_stride": 2, "activation": "gelu", "isotropic": True}
J, F = "modelJ,modelJ-varied", "modelF,modelF-varied"
MIXED = "wide,modelJ-varied,deeplensesim1"
II, III = "deeplensesim2", "deeplensesim3"
LOW = ["--lr", "0.008", "--evaluations", "3", "--init"]
AS_IS = ["--resampled", "0"]  # interpolation drowns what images without noise show
LARGE = ["--batch-size", "256", "--lr", "0.016", "--ema", "0.998"]
# What lets a network flag what is no lens; 240 is a multiple of 8 times the classes.
TOLD_APART = ["--matched", "1", "--unlike", "0.2", "--batch-size", "240"]
# Of no published weight.
SEEDS = {J: "81", F: "82", MIXED: "83", II: "94", III: "95", "hst": "103"}
EASES = (0.9, 0.75, 0.6, 0.45, 0.3, 0.15)  # see curriculum.py
OWN = NEW | {"own_noise": True}  # for images with the light of the lens


def _run(
    name: str, share: float, fresh: str, *more: str, options: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "share": share,
        "arguments": [
            name.split("-")[0],
            *("--fresh", fresh, "--seed", SEEDS[fresh], *LARGE),
            *("--options", json.dumps(options), *more),
        ],
    }


def _curriculum(recipe: str, start: str, share: float) -> list[dict[str, Any]]:
    """Runs that begin with easy lenses, each from the one before; see `curriculum.py`.

    The last is on the recipe itself: it has half of the share, and the plain name.
    """
    runs = []
    for ease in (*EASES, 0):
        name = f"d8-{recipe}-{ease:g}" if ease else f"d8-{recipe}"
        part = share / 2 / len(EASES) if ease else share / 2
        again = ["--ease", f"{ease:g}", "--exposures", "2"]
        runs.append(_run(name, part, recipe, *LOW, start, *again, options=OWN))
        start = f"{{out}}/{name}/best"
    return runs


# Name of the result, share of the time, and arguments of `train.py`; what is worth most
# comes first. What starts from another run of the list names its folder with `{out}`.
CAMPAIGN: list[dict[str, Any]] = [
    *(
        _run(f"{group}-modelF", 2.0, F, *LOW, f"{group}-modelJ@2", options=NEW)
        for group in ("d4", "c4")
    ),
    *(
        _run(f"d8-{recipe}", 1.5, recipe, *LOW, f"d8-{recipe}", *AS_IS, options=NEW)
        for recipe in (II, III)
    ),
    _run("so2-modelJ", 4.0, J, *LOW, "so2-modelJ", options={"disc": True, "turns": 2}),
    _run("c8-modelJ", 3.0, J, *LOW, "c8-modelJ@2", options=NEW),
    *_curriculum("hst", "d8-modelJ@2", 8.0),
    _run("c8-wide", 6.0, MIXED, *LOW, "c8-modelJ@2", *TOLD_APART, options=OWN),
    _run("resnet18-modelF", 3.0, F, "--lr", "0.005", options={}),
    *(
        _run(f"resnet18-{recipe}", 1.5, recipe, "--lr", "0.005", *AS_IS, options={})
        for recipe in (II, III)
    ),
]


def chosen_runs(path: Path | None, names: list[str]) -> list[dict[str, Any]]:
    """The list, or what `names` choose of it.

    Raises:
        ValueError: The file holds no such list, or a name is unknown.
    """
    runs = CAMPAIGN if path is None else json.loads(path.read_text())
    for run in runs:
        if set(run) != {"name", "share", "arguments"} or run["share"] <= 0:
            raise ValueError(
                f"{path}: {json.dumps(run)[:80]}; expected name, share (above 0) and "
                "arguments"
            )
    known = [run["name"] for run in runs]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"{unknown[0]!r}: expected some of {', '.join(known)}")
    return [run for run in runs if not names or run["name"] in names]


def pack(out: Path, runs: list[dict[str, Any]], archive: Path, limit: float) -> None:
    """Writes all weights that there are into one file, which replaces the old one."""
    held, content = 0, io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for run in runs:
            best = out / run["name"] / "best"
            size = sum(f.stat().st_size + 2048 for f in best.glob("*"))
            if size and held + size <= limit - 20480:
                tar.add(best, run["name"])
                held += size
            elif size:
                print(f"{archive} has no room for {run['name']} ({size} bytes)")
    write_atomically(archive, content.getvalue())


class Run(Training):
    """A training of a campaign, which packs what it has got."""

    archived: Any = staticmethod(lambda: None)

    def evaluate(self, step: int, loss: float, seconds: float) -> None:
        """As any training, and then packs."""
        before = self.best
        super().evaluate(step, loss, seconds)
        if self.best > before:
            self.archived()


def train(run: dict[str, Any], minutes: float, out: Path, archived: Any) -> None:
    """One run of the list, from its start or from where it was cut short."""
    folder = out / run["name"]
    plan = folder / "minutes.json"  # a run that goes on keeps its schedule
    if plan.is_file():
        minutes = json.loads(plan.read_text())
    argv = [argument.replace("{out}", str(out)) for argument in run["arguments"]]
    argv += ["--out", str(folder), "--minutes", f"{minutes:.3f}", "--no-test"]
    print(f"\n{run['name']}: {minutes:.2f} minutes", flush=True)
    args = arguments(argv)
    training = Run(args, accelerator_of(args))
    training.archived = archived
    write_atomically(plan, json.dumps(minutes).encode())
    training.resume()
    training.run()
    write_atomically(folder / "history.json", json.dumps(training.history).encode())


def main() -> None:
    """Trains what the list says, as long as there is time."""
    started = time.monotonic()
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("names", nargs="*", metavar="NAME", help="runs; all if none")
    p.add_argument("--minutes", type=number(0.001), required=True, help="for all")
    p.add_argument("--out", type=Path, required=True, help="folder of the runs")
    p.add_argument("--list", type=Path, help="JSON in place of the default list")
    p.add_argument("--archive", type=check_output, help="tar file with all weights")
    p.add_argument("--archive-mb", type=number(0.001), default=16.0, help="at most")
    args = p.parse_args()
    runs = chosen_runs(args.list, args.names)

    def archived() -> None:
        if args.archive is not None:
            pack(args.out, runs, args.archive, args.archive_mb * 1e6)

    left = [r for r in runs if not (args.out / r["name"] / "history.json").is_file()]
    while left:
        run, shares = left[0], sum(r["share"] for r in left)
        minutes = args.minutes - (time.monotonic() - started) / 60
        if minutes <= 0:
            print(f"no time left for {', '.join(r['name'] for r in left)}")
            break
        try:
            train(run, minutes * run["share"] / shares, args.out, archived)
        except (ValueError, RuntimeError, OSError) as error:
            # The others are not to be lost with it.
            print(f"{run['name']} failed: {type(error).__name__}: {error}", flush=True)
        del left[0]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
