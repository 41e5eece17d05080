"""What a model card says of training runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from lensequiv.spec import ImageSet, Information, TrainedOn, Training
from lensequiv.weights._card_scores import one_line

__all__ = ["all_runs", "head_training", "minutes", "training"]

_SPLITS = ("train", "val", "test")


def training(info: Information) -> list[str]:
    """Image sets, runs and commands, as far as they are recorded."""
    data, last = info.trained_on or {}, info.training
    runs = [] if last is None else _runs(last)
    sets = [*(run.get("trained_on", {}) for run in runs[:-1]), data]
    rows = [
        *(
            _set(f"train, {one_line(s.get('recipe', 'unknown'))}, at first", s["train"])
            for s in sets[:-1]
            if "train" in s
        ),
        *(
            _set(split, cast("dict[str, Any]", data)[split])
            for split in _SPLITS
            if split in data
        ),
    ]
    table = ["| set | images | seed |", "|---|---|---|", *rows, ""] if rows else []
    commands = [
        line
        for run, made in zip(runs, sets, strict=False)
        for line in (*_simulations(made), *run.get("command", "").splitlines())
    ]
    told = [line for run in runs if (line := _run(run))]
    lines = [*table, *told, *([""] if told else [])]
    if commands:
        lines += ["```", *commands, "```", ""]
    return ["## Training", "", *lines] if lines else []


def _run(run: Training) -> str:
    """One line about a run, of what is recorded of it."""
    text = f"{run['images_seen']} images seen" if "images_seen" in run else "A run"
    if "minutes" in run:
        text += f" in {run['minutes']} minutes"
    if "machine" in run:
        text += f" ({one_line(run['machine'])})"
    if "date" in run:
        text += f", {one_line(run['date'])}"
    if run.get("before") and (start := run.get("started_from")):
        text += f", starting from `{one_line(start)}`"
    return "" if text == "A run" else f"{text}."


def _set(name: str, described: ImageSet) -> str:
    fresh = ", simulated while training" if described.get("fresh") else ""
    images, seed = (described.get(key, "-") for key in ("images", "seed"))
    return f"| {name} | {images}{fresh} | {seed} |"


def _simulations(sets: TrainedOn) -> list[str]:
    """The commands that make the sets of a run, where seed and size are recorded."""
    by_name = cast("dict[str, Any]", sets)
    made = [(split, by_name[split]) for split in _SPLITS if split in by_name]
    return [
        f"lensequiv simulate {sets['recipe']} --images {one['images']} "
        f"--seed {one['seed']} data/{sets['recipe']}/{one.get('file', split)}"
        for split, one in made
        if "recipe" in sets and {"images", "seed"} <= one.keys()
        if not one.get("fresh")
    ]


def head_training(run: Mapping[str, Any]) -> str:
    """How a head was trained that came with or after the classes: what is known."""
    facts = [
        f"after `{one_line(run['command'])}`" if "command" in run else "",
        f"{run['images_seen']:,} images seen" if "images_seen" in run else "",
        f"{run['minutes']:g} minutes" if "minutes" in run else "",
        f"lenses of {', '.join(map(one_line, run['recipes']))}"
        if "recipes" in run
        else "",
    ]
    return "; ".join(filter(None, facts))


def minutes(runs: Sequence[Training]) -> str:
    """What runs took, in minutes of a processor's core and of an accelerator.

    From what `examples/finish.py` wrote: `2 processes of 1 threads on cpu`.
    """
    of_cores, of_accelerators = 0.0, 0.0
    for run in runs:
        found = re.search(
            r"(?:(\d+) processes of )?(\d+) threads(?: on (.+))?", run["machine"]
        )
        processes = int(found[1] or 1) if found else 1
        if found and (found[3] or "cpu") != "cpu":
            of_accelerators += run["minutes"] * processes
        else:
            threads = int(found[2]) if found else 1
            of_cores += run["minutes"] * processes * threads
    parts = [f"{of_cores:.0f}"] if of_cores or not of_accelerators else []
    parts += [f"{of_accelerators:.1f} of a GPU"] if of_accelerators else []
    return " + ".join(parts)


def all_runs(info: Mapping[str, Any]) -> list[Training]:
    """The training runs that led to these weights, first one first."""
    return _runs(info["training"])


def _runs(last: Training) -> list[Training]:
    runs = [last]
    while before := runs[0].get("before"):
        runs.insert(0, before)
    return runs
