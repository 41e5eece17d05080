"""Tables and figures of `real_lenses.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from real_lens_images import CLAIMED, Image, Seen, centre
from sklearn.metrics import roc_auc_score

from lensequiv.plots._evaluation import wilson

Answers = dict[str, Any]
STATES = ("as it is", "light subtracted")
SHOWN = 97  # pixels of a picture: what most weights see
ALARMS = 0.1  # share of smooth lenses of the own recipe above the threshold


def substructure(found: Answers, row: dict[str, Any]) -> float:
    """Probability of anything but smooth."""
    return 1 - row["p"][found["classes"].index("no")]


def label(found: Answers, row: dict[str, Any]) -> str:
    """The likeliest class."""
    return found["classes"][int(np.argmax(row["p"]))]


def groups(found: Answers) -> dict[str, list[dict[str, Any]]]:
    """The lenses by their kind; of real ones the first band alone."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for lens in found["lenses"].values():
        if lens["first"] and lens["lens"] != CLAIMED:
            parts.setdefault(lens["kind"], []).append(lens)
    return parts


def unchanged(lenses: list[dict[str, Any]], state: str) -> list[dict[str, Any]]:
    """The answers to lenses without any change."""
    return [
        lens["states"][state]["none"][0] for lens in lenses if state in lens["states"]
    ]


def share(hits: int, n: int) -> str:
    """A share with its 95 % interval, in percent."""
    if not n:
        return "-"
    ends = wilson(np.array([hits / n]), np.array([n]))
    low, high = (100 * max(0.0, float(end[0])) for end in ends)
    return f"{hits} of {n} ({low:.0f} to {high:.0f} %)"


def called(found: Answers, lenses: list[dict[str, Any]], state: str) -> str:
    """How many lenses are called substructure, flagged ones and others apart."""
    rows, cells = unchanged(lenses, state), []
    for flagged, word in ((True, "flagged"), (False, "not flagged")):
        part = [row for row in rows if bool(row["notes"]) == flagged]
        hits = sum(label(found, row) != "no" for row in part)
        cells += [f"{word}: {share(hits, len(part))}"] if part else []
    return "; ".join(cells) or "-"


def rates(all_found: dict[str, Answers]) -> Iterator[str]:
    """Real and simulated lenses that are called substructure."""
    yield "| weight | state | real | hst, smooth | hst, AUC | own, smooth | own, AUC |"
    yield "|---" * 7 + "|"
    for name, found in all_found.items():
        parts, own = groups(found), (found["recipe"] or "").partition("@")[0]
        for state in STATES:
            cells = [called(found, parts.get("real", []), state)]
            for base in ("hst", own):
                cells.append(called(found, parts.get(f"{base}, smooth", []), state))
                cells.append(separation(found, parts, base, state))
            yield f"| {name} | {state} | " + " | ".join(cells) + " |"


def separation(
    found: Answers, parts: dict[str, list[dict[str, Any]]], base: str, state: str
) -> str:
    """AUC of the probability of substructure between lenses without and with some."""
    smooth = unchanged(parts.get(f"{base}, smooth", []), state)
    other = unchanged(parts.get(f"{base}, with substructure", []), state)
    if not smooth or not other:
        return "-"
    truth = [0] * len(smooth) + [1] * len(other)
    values = [substructure(found, row) for row in smooth + other]
    return f"{roc_auc_score(truth, values):.2f}"


def above_threshold(all_found: dict[str, Answers]) -> Iterator[str]:
    """Lenses above the threshold that 10 % of the own smooth lenses exceed."""
    yield "| weight | threshold | real | real, light subtracted | hst, smooth |"
    yield "|---|---|---|---|---|"
    for name, found in all_found.items():
        parts, own = groups(found), (found["recipe"] or "").partition("@")[0]
        if f"{own}, smooth" not in parts:
            continue
        smooth = unchanged(parts[f"{own}, smooth"], "as it is")
        values = [substructure(found, row) for row in smooth]
        limit = float(np.quantile(values, 1 - ALARMS))
        cells = []
        for kind, state in (
            ("real", STATES[0]),
            ("real", STATES[1]),
            ("hst, smooth", STATES[0]),
        ):
            rows = unchanged(parts.get(kind, []), state)
            hits = sum(substructure(found, row) > limit for row in rows)
            cells.append(share(hits, len(rows)))
        yield f"| {name} | {limit:.3f} | " + " | ".join(cells) + " |"


def stability(all_found: dict[str, Answers]) -> Iterator[str]:
    """Share of changed labels, and the median change of the probability."""
    names: list[str] = []
    lines = []
    for name, found in all_found.items():
        for kind, lenses in groups(found).items():
            for state in STATES:
                there = [
                    lens["states"][state]
                    for lens in lenses
                    if len(lens["states"].get(state, ())) > 1
                ]
                if not there:
                    continue
                names = [change for change in there[0] if change != "none"]
                cells = [_moved(found, there, change) for change in names]
                lines.append(
                    f"| {name} | {kind} | {state} | " + " | ".join(cells) + " |"
                )
    yield "| weight | lenses | state | " + " | ".join(names) + " |"
    yield "|---" * (3 + len(names)) + "|"
    yield from lines


def _moved(found: Answers, states: list[dict[str, Any]], change: str) -> str:
    pairs = [(s["none"][0], row) for s in states for row in s[change]]
    other = np.mean([label(found, a) != label(found, b) for a, b in pairs])
    moves = [abs(substructure(found, a) - substructure(found, b)) for a, b in pairs]
    return f"{100 * other:.0f} % ({np.median(moves):.3f})"


def each(all_found: dict[str, Answers], bands: bool) -> Iterator[str]:
    """Every lens by every weight; or the lenses that have several bands, by band."""
    yield "| lens | " + " | ".join(all_found) + " |"
    yield "|---" * (1 + len(all_found)) + "|"
    lenses = next(iter(all_found.values()))["lenses"]
    real = {key: lens for key, lens in lenses.items() if lens["kind"] == "real"}
    several = {lens["lens"] for lens in real.values() if not lens["first"]}
    for key, lens in real.items():
        if lens["lens"] not in several if bands else not lens["first"]:
            continue
        cells = []
        for found in all_found.values():
            states = found["lenses"][key]["states"]
            texts = []
            for state in STATES:
                row = states[state]["none"][0]
                mark = "" if row["notes"] else " (not flagged)"
                texts.append(f"{label(found, row)} {max(row['p']):.2f}{mark}")
            cells.append(" / ".join(texts))
        where = f"{lens['lens']}, {lens['band']}" if bands else lens["lens"]
        yield f"| {where} | " + " | ".join(cells) + " |"


def reasons(all_found: dict[str, Answers]) -> Iterator[str]:
    """Scores of unlikeness, and how often each note is a reason for a flag."""
    yield "| weight | state | score: median (smallest, largest) | reasons |"
    yield "|---|---|---|---|"
    for name, found in all_found.items():
        for state in STATES:
            rows = unchanged(groups(found)["real"], state)
            scores = [row["score"] for row in rows if row["score"] is not None]
            counts: dict[str, int] = {}
            for row in rows:
                for word in {note.split(" ")[0] for note in row["notes"]}:
                    word = "size" if word == "only" else word
                    counts[word] = counts.get(word, 0) + 1
            told = ", ".join(
                f"{w} {n}" for w, n in sorted(counts.items(), key=lambda c: -c[1])
            )
            limits = f"{np.median(scores):.1f} ({min(scores):.1f}, {max(scores):.3g})"
            yield f"| {name} | {state} | {limits if scores else '-'} | {told} |"


def tables(found: dict[str, Answers]) -> str:
    """All tables, as Markdown."""
    parts = {
        "Answers: as it is / light subtracted": each(found, bands=False),
        "Bands": each(found, bands=True),
        "Flags of real lenses": reasons(found),
        f"Called substructure (label; 95 % intervals), {CLAIMED} left out": rates(
            found
        ),
        f"Above the threshold of {100 * ALARMS:.0f} % false alarms": above_threshold(
            found
        ),
        "Labels that change (median change of the probability)": stability(found),
    }
    return "".join(
        f"## {title}\n\n" + "\n".join(lines) + "\n\n" for title, lines in parts.items()
    )


def stretched(pixels: Image) -> Image:
    """What is shown: arcsinh of the difference to the sky, in three times its noise."""
    from lens_light import sky_noise

    shown = centre(pixels, SHOWN)
    edge = np.concatenate([shown[:6].ravel(), shown[-6:].ravel()])
    return np.arcsinh((shown - np.median(edge)) / (3 * sky_noise(pixels)))


def draw(
    all_found: dict[str, Answers], lenses: list[Seen], bare: dict[str, Image], out: Path
) -> list[Path]:
    """A sheet of all lenses, and the answers to each after every change."""
    out.mkdir(parents=True, exist_ok=True)
    name, found = next(iter(all_found.items()))
    first = [seen for seen in lenses if seen.first]
    paths = [out / "real-lenses.png", out / "real-lenses-stability.png"]
    _sheet(name, found, first, bare).savefig(paths[0], dpi=80)
    _strips(name, found, first).savefig(paths[1], dpi=90)
    return paths


def _sheet(name: str, found: Answers, first: list[Seen], bare: dict[str, Image]) -> Any:
    from matplotlib.figure import Figure

    columns = 5
    rows = -(-len(first) // columns)
    figure = Figure(figsize=(2.5 * columns, 1.62 * rows), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for panel in grid.flat:
        panel.axis("off")
    for i, seen in enumerate(first):
        states = found["lenses"][seen.key]["states"]
        for j, (state, pixels) in enumerate(
            zip(STATES, (seen.pixels, bare[seen.key]), strict=True)
        ):
            panel = grid[i // columns, 2 * (i % columns) + j]
            panel.imshow(stretched(pixels), cmap="gray", origin="lower")
            row = states[state]["none"][0]
            text = f"{label(found, row)} {max(row['p']):.2f}"
            flag = " flagged" if row["notes"] else ""
            title = seen.lens if j == 0 else "light subtracted"
            panel.set_title(f"{title}\n{text}{flag}", fontsize=7, pad=2)
    figure.suptitle(f"Real lenses and what {name} says of them", fontsize=10)
    return figure


def _strips(name: str, found: Answers, first: list[Seen]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.4), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for panel, state in zip(panels, STATES, strict=True):
        for x, seen in enumerate(first):
            rows = found["lenses"][seen.key]["states"][state]
            for j, (change, answers) in enumerate(rows.items()):
                values = [substructure(found, row) for row in answers]
                places = np.full(len(values), x + 0.13 * (j - 2.5))
                style = (
                    {"color": "black", "marker": "_", "s": 60}
                    if j == 0
                    else {"s": 9, "color": f"C{j - 1}"}
                )
                panel.scatter(places, values, label=change if x == 0 else None, **style)
        panel.set_ylabel("probability of substructure")
        panel.set_title(f"{name}, {state}", fontsize=9)
        panel.set_ylim(-0.04, 1.04)
        panel.grid(axis="x", alpha=0.2)
    panels[1].set_xticks(
        range(len(first)), [s.lens for s in first], rotation=60, ha="right", fontsize=7
    )
    panels[0].legend(ncols=6, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.1))
    return figure
