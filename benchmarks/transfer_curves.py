"""Few-label curves from the records of `transfer.py`: a table and a figure."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

# Accuracy on the original files of Model II by a foundation model trained with physics
# priors and without labels, by labelled images a class; see docs/finetuning.md.
PUBLISHED = {100: 0.482, 500: 0.719, 1000: 0.797, 5000: 0.899}


def file_name(*parts: object) -> str:
    """A name for files of what these parts say."""
    text = "_".join(str(part).partition("=")[0] for part in parts)
    return text.replace("/", "-").replace(":", "-")


def gathered(out: Path) -> dict[tuple[str, str, str], dict[int, list[dict]]]:
    """All that was measured: by set, way and start, then by labels a class."""
    found: dict = defaultdict(lambda: defaultdict(list))
    for path in sorted((out / "cells").glob("*.json")):
        run = json.loads(path.read_text())
        key = run["set"], run["way"], file_name(run["start"])
        found[key][run["labels"]].append(run)
    for columns in found.values():
        for labels, runs in columns.items():
            best = min((r for r in runs if r["seed"] == 0), key=lambda r: r["loss"])
            columns[labels] = [r for r in runs if r["rate"] == best["rate"]]
    return found


def spread(values: list[float]) -> float:
    """Standard deviation of the seeds; 0 for one."""
    return stdev(values) if len(values) > 1 else 0.0


def table(found: dict) -> None:
    """Prints accuracies: their mean over the seeds, and their standard deviation."""
    columns = sorted({labels for rows in found.values() for labels in rows})
    print(f"| set | trained | start | {' | '.join(map(str, columns))} |")
    print("|---" * (3 + len(columns)) + "|")
    for (name, way, start), runs in found.items():
        line = []
        for labels in columns:
            right = [run["accuracy"] for run in runs.get(labels, ())]
            text = f"{mean(right):.3f}" if right else ""
            line.append(text + (f" ± {stdev(right):.3f}" if len(right) > 1 else ""))
        print(f"| {name} | {way} | {start} | {' | '.join(line)} |")


def plot(found: dict, path: Path) -> None:
    """Accuracy by labels a class, a panel for each set."""
    from lensequiv.plots._style import (
        KEY,
        PANEL,
        figure_class,
        finish,
        line_styles,
        tidy,
    )

    names = sorted({key[0] for key in found})
    kinds = sorted({key[1:] for key in found})
    looks = dict(zip(kinds, line_styles(len(kinds)), strict=True))
    width = PANEL * max(1.5, 0.9 * len(names))
    figure = figure_class()(figsize=(width, 1.3 * PANEL), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        for way, start in kinds:
            runs = found.get((name, way, start), {})
            if not runs:
                continue
            labels = sorted(runs)
            right = [[run["accuracy"] for run in runs[n]] for n in labels]
            panel.errorbar(
                *(labels, [mean(r) for r in right], [spread(r) for r in right]),
                **looks[way, start],
                label=f"{start}, {way}",
            )
        if name == "deeplensesim2":
            panel.plot(*zip(*PUBLISHED.items(), strict=True), "k*", label="published")
        panel.set_xscale("log")
        tidy(panel, title=name, x="labelled images a class", y="")
    panels[0].set_ylabel("accuracy")
    entries = {
        label: line
        for panel in panels
        for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    columns = min(len(names) + 1, 3)
    key = {"loc": "outside lower center", "ncols": columns, **KEY}
    figure.legend(list(entries.values()), list(entries), **key)
    finish(figure, path)
