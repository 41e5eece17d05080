"""What weights do when one thing at a time differs from their training images.

    python benchmarks/robustness.py --weights c8-modelJ@1 runs/new/best --out FOLDER
        [--images 600] [--originals DIR] [--minutes M] [--device cuda]

For each weight: `lensequiv.evaluation.perturbations` of its recipe (`wide`, or none on
record: of both), the recipe with its uncertainties, its first version, and the original
images in `DIR/J.npz` and `DIR/F.npz` (`images`, `labels` by class name). A weight is a
name, or a folder as NAME=FOLDER or FOLDER; ResNet-18 is one like the others.

Lenses are simulated once for all weights, 150 of every change before the next 150, so
the table can be printed at any time. Answers are kept in OUT: the same command goes on
where it was killed, another weight or more images add to what is there, and two calls
for different weights may share OUT. The table goes to the screen, `OUT/robustness.md`
and `OUT/robustness.json`; `--plot` draws it, too.
"""

import argparse
import io
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import lensequiv
from lensequiv.evaluation._changes import OF_IMAGES, WITHIN, perturbations
from lensequiv.evaluation._evaluate import weights_facts
from lensequiv.evaluation._perturb import (
    Perturbed,
    answers,
    check_classes,
    lenses_with,
    scores_of,
)
from lensequiv.files import write_atomically
from lensequiv.inference import resolve_device
from lensequiv.models import LensNetwork
from lensequiv.simulation import Recipe, get_recipe
from lensequiv.weights._catalogue import find_release

FAMILIES = {"modelJ": "J.npz", "modelF": "F.npz"}
ROUND = 150  # lenses of one change at a time
SEED = 910_000  # of the first round; no weight has been trained on these
ORIGINAL = "original images"


@dataclass
class Weight:
    """A weight and where its answers are kept."""

    label: str
    model: LensNetwork
    folder: Path
    families: list[str]

    def file(self, family: str, change: str) -> Path:
        """Of the answers to one change."""
        return self.folder / f"{family}-{re.sub('[^a-zA-Z0-9.@]+', '-', change)}.npz"

    def kept(self, family: str, change: str) -> dict[str, np.ndarray] | None:
        """Probabilities, flags and labels of all rounds, and their seeds."""
        path = self.file(family, change)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    def lacks(self, family: str, change: str, seed: int) -> bool:
        """Whether a round is still to be done."""
        kept = self.kept(family, change)
        return kept is None or seed not in kept["seeds"]

    def keep(self, family: str, change: str, new: dict[str, np.ndarray]) -> None:
        """Adds a round."""
        if kept := self.kept(family, change):
            new = {name: np.concatenate([kept[name], new[name]]) for name in kept}
        content = io.BytesIO()
        np.savez(content, **new)
        write_atomically(self.file(family, change), content.getvalue(), sync=False)

    def row(self, family: str, change: str) -> Perturbed | None:
        """Scores of what is kept."""
        kept = self.kept(family, change)
        if kept is None:
            return None
        return scores_of(
            change,
            kept["probabilities"].astype(np.float64),
            kept["flagged"],
            kept["labels"],
            self.model.classes,
        )


def load(given: str, out: Path) -> Weight:
    """A weight by name, folder or NAME=FOLDER."""
    label, _, source = given.rpartition("=")
    model = lensequiv.from_pretrained(source).eval()
    release = find_release(source) if not Path(source).exists() else None
    if not label and release:
        label = f"{release.name}@{release.version}"
    elif not label:
        path = Path(source).resolve()
        label = path.parent.name if path.name in ("best", "weights") else path.name
    facts = weights_facts(model, label)
    base = (facts["recipe"] or "").partition("@")[0].removesuffix("-varied")
    families = [base] if base in FAMILIES else list(FAMILIES)
    for family in families:
        check_classes(model, get_recipe(family))
    folder = out / f"{label}-{facts['sha256'][:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    return Weight(label, model, folder, families)


def changes_of(family: str) -> dict[str, Recipe]:
    """All recipes to try, by what is changed: nothing and everything first."""
    single = perturbations(get_recipe(family))
    changed = {"none": single.pop("none"), "all of * at once": f"{family}-varied"}
    if get_recipe(family).version > 1:
        changed["version 1 of the recipe"] = f"{family}@1"
    return {name: get_recipe(recipe) for name, recipe in changed.items()} | single


class Clock:
    """How long it takes, and will."""

    def __init__(self, weights: list[Weight], rounds: int, minutes: float) -> None:
        self.start, self.minutes = time.perf_counter(), minutes
        self.spent: dict[str, float] = defaultdict(float)
        self.done: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        for family in FAMILIES:
            members = [w for w in weights if family in w.families]
            for change in [*changes_of(family), *OF_IMAGES]:
                for seed in range(SEED, SEED + rounds):
                    lacking = [w for w in members if w.lacks(family, change, seed)]
                    self.missing.update(weight.label for weight in lacking)
                    self.missing["simulation"] += bool(lacking)

    def add(self, what: str, since: float) -> None:
        """Notes a piece of work that has been done."""
        self.spent[what] += time.perf_counter() - since
        self.done[what] += 1
        self.missing[what] -= 1

    @property
    def left(self) -> float:
        """*Unit*: minutes. What has not been timed yet counts as the mean of the rest.

        Simulation is not among that rest, but always timed.
        """
        each = {what: self.spent[what] / self.done[what] for what in self.done}
        networks = [each[what] for what in each if what != "simulation"]
        mean = sum(networks) / max(len(networks), 1)
        return sum(n * each.get(what, mean) for what, n in self.missing.items()) / 60

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() - self.start > 60 * self.minutes


def simulated(weights: list[Weight], rounds: int) -> Iterator[tuple[str, str, int]]:
    """What is to be simulated: family, change and seed, round by round."""
    for seed in range(SEED, SEED + rounds):
        for family in FAMILIES:
            members = [w for w in weights if family in w.families]
            for change in [*changes_of(family), *OF_IMAGES]:
                if any(weight.lacks(family, change, seed) for weight in members):
                    yield family, change, seed


def classify(
    weight: Weight,
    family: str,
    change: str,
    seed: int,
    images: torch.Tensor,
    labels: np.ndarray,
    args: argparse.Namespace,
) -> None:
    """Adds the answers of one weight."""
    probabilities, flagged = answers(
        weight.model, images, args.batch_size, args.precision, args.device
    )
    new = {"probabilities": probabilities.astype(np.float32), "flagged": flagged}
    new |= {"labels": labels, "seeds": np.array([seed])}
    weight.keep(family, change, new)


def score_originals(weights: list[Weight], args: argparse.Namespace) -> None:
    """Every weight on the original images, once."""
    for family, name in FAMILIES.items():
        path = args.originals / name
        members = [w for w in weights if family in w.families]
        members = [w for w in members if w.lacks(family, ORIGINAL, 0)]
        if not path.exists() or not members:
            continue
        with np.load(path, allow_pickle=False) as file:
            images = torch.from_numpy(file["images"].astype(np.float32))
            classes = list(get_recipe(family).classes)
            labels = np.array([classes.index(name) for name in file["labels"]])
        for weight in members:
            classify(weight, family, ORIGINAL, 0, images, labels, args)


def run(weights: list[Weight], args: argparse.Namespace) -> None:
    """Fills in what is missing, for as long as there is time."""
    rounds = -(-args.images // ROUND)
    clock = Clock(weights, rounds, args.minutes)
    changed = {family: changes_of(family) for family in FAMILIES}
    for family, change, seed in simulated(weights, rounds):
        since = time.perf_counter()
        images, labels = lenses_with(changed[family], change, ROUND, seed, args.device)
        clock.add("simulation", since)
        for weight in weights:
            if family in weight.families and weight.lacks(family, change, seed):
                since = time.perf_counter()
                classify(weight, family, change, seed, images, labels, args)
                clock.add(weight.label, since)
        print(
            f"round {seed - SEED + 1} of {rounds}, {family}, {change}: about "
            f"{clock.left:.1f} minutes left",
            flush=True,
        )
        if clock.over:
            print(f"stopped after {args.minutes:g} minutes; the same command goes on")
            return


def cell(row: Perturbed | None) -> str:
    """Accuracy in percent, AUC, flags in percent."""
    if row is None:
        return ""
    return f"{100 * row.accuracy:.1f} / {row.auc:.4f} / {100 * row.flagged:.0f}"


def table(family: str, weights: list[Weight]) -> list[str]:
    """Markdown: a row for each change, a column for each weight."""
    found = {w.label: rows_of(w, family) for w in weights}
    head = [f"change of {family}", *found]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    images: dict[str, list[int]] = {}
    for change in [*changes_of(family), *OF_IMAGES, ORIGINAL]:
        rows = [rows.get(change) for rows in found.values()]
        if counts := [row.images for row in rows if row]:
            images[change] = counts
            mark = " *" * (change in WITHIN)
            lines.append("| " + " | ".join([change + mark, *map(cell, rows)]) + " |")
    lines.append(
        "| " + " | ".join(["lowest of *", *map(lowest, found.values())]) + " |"
    )
    originals = images.pop(ORIGINAL, [])
    counts = [n for row in images.values() for n in row] or [0]
    many = " to ".join(map(str, sorted({min(counts), max(counts)})))
    note = f"Accuracy in % / micro AUC / flagged in %; {many} lenses a change"
    if originals:
        note += f", {originals[0]} original images"
    return [*lines, "", f"{note}; * within {family}-varied.", ""]


def lowest(rows: dict[str, Perturbed]) -> str:
    """The lowest accuracy under a single change within the uncertainties."""
    inside = [row for row in rows.values() if row.within]
    least = min(inside, key=lambda row: row.accuracy, default=None)
    return f"{100 * least.accuracy:.1f} ({least.change})" if least else ""


def rows_of(weight: Weight, family: str) -> dict[str, Perturbed]:
    """All scores of a weight, by change."""
    names = [*changes_of(family), *OF_IMAGES, ORIGINAL]
    rows = {change: weight.row(family, change) for change in names}
    return {change: row for change, row in rows.items() if row is not None}


def report(weights: list[Weight], out: Path) -> None:
    """Prints and writes the tables."""
    lines: list[str] = []
    numbers: dict[str, dict[str, list[dict]]] = {}
    for family in FAMILIES:
        members = [w for w in weights if family in w.families]
        members = [w for w in members if rows_of(w, family)]
        if members:
            lines += table(family, members)
        numbers[family] = {
            w.label: [asdict(row) for row in rows_of(w, family).values()]
            for w in members
        }
    text = "\n".join(lines)
    print(text)
    escaped = text.replace("*", "\\*")  # a star means emphasis in Markdown
    write_atomically(out / "robustness.md", escaped.encode())
    write_atomically(
        out / "robustness.json", (json.dumps(numbers, indent=1) + "\n").encode()
    )


def draw(weights: list[Weight], out: Path) -> None:
    """A picture for each recipe, of what has been done for all its weights."""
    from lensequiv.plots import plot_perturbations

    for family in FAMILIES:
        members = [w for w in weights if family in w.families]
        found = {w.label: rows_of(w, family) for w in members}
        common = [set(rows) for rows in found.values()]
        shared = set.intersection(*common) if common else set()
        rows = {
            label: [row for change, row in mine.items() if change in shared]
            for label, mine in found.items()
        }
        if shared:
            plot_perturbations(rows, path=out / f"robustness-{family}.png")


def main() -> None:
    """Measures what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", required=True, metavar="WEIGHT")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--images", type=int, default=600, help=f"a change, in steps of {ROUND}"
    )
    parser.add_argument("--originals", type=Path, metavar="DIR")
    parser.add_argument(
        "--plot", action="store_true", help="a picture for each recipe (extra: plots)"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16"),
        default="fp32",
        help="bf16 pays where the processor has it, and is 20 times slower elsewhere",
    )
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    args.device = resolve_device(args.device)
    if args.originals and not args.originals.is_dir():
        parser.error(f"--originals {args.originals}: no such folder")
    weights = [load(given, args.out) for given in args.weights]
    if double := [k for k, n in Counter(w.label for w in weights).items() if n > 1]:
        parser.error(f"two weights are called {double[0]}: give one as NAME=FOLDER")
    if args.originals:
        score_originals(weights, args)
    run(weights, args)
    report(weights, args.out)
    if args.plot:
        draw(weights, args.out)


if __name__ == "__main__":
    main()
