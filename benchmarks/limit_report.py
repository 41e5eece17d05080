"""Tables and figure of `detection_limit.py`."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from limit_scores import ALARMS, Judged, pair_errors, read_ideal, read_lenses
from scipy.stats import norm

from lensequiv.evaluation import roc_auc

EDGES = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, np.inf)  # signal-to-noise ratios
RESAMPLES, FEW = 200, 20  # bootstrap sets of lenses, of ideal observers


def measured(judged: Judged, title: str, resamples: int) -> dict[str, Any]:
    """Numbers with their standard errors, from bootstrap sets."""
    rng = np.random.default_rng(1)
    value = judged.of(title).measures()
    again = [
        judged.of(title, judged.resampled(rng)).measures() for _ in range(resamples)
    ]
    error = {k: float(np.std([one[k] for one in again])) for k in value}
    return {"value": value, "error": error}


def by_signal(judged: Judged, title: str) -> list[dict[str, float]]:
    """Errors on lenses of `sphere` in bins of the signal-to-noise ratio."""
    scores = judged.of(title)
    wrong, missed = scores.wrong(), scores.missed()
    rows = []
    for low, high in pairwise(EDGES):
        inside = (scores.label == 1) & (scores.snr >= low) & (scores.snr < high)
        n = int(inside.sum())
        rows.append(
            {
                "from": low,
                "lenses": n,
                "wrong": float(wrong[inside].mean()) if n else float("nan"),
                "missed": float(missed[inside].mean()) if n else float("nan"),
                "median": float(np.median(scores.snr[inside])) if n else float("nan"),
            }
        )
    return rows


def together(judged: Judged) -> dict[str, Any]:
    """How far networks err on the same lenses of `sphere`."""
    wrong = np.stack(
        [judged.of(title).wrong()[judged.label == 1] for title in judged.logits]
    )
    snr = judged.snr[judged.label == 1]
    return {
        "wrong for any": int(wrong.any(0).sum()),
        "wrong for all": int(wrong.all(0).sum()),
        "signal of those": np.round(np.sort(snr[wrong.all(0)]), 1).tolist(),
    }


def fits(out: Path, judged: Judged, recipe: str) -> dict[str, Any]:
    """AUC of the fits' gain in chi^2 between smooth and faint lenses of `sphere`."""
    gain: dict[int, list[np.ndarray]] = {0: [], 1: []}
    rows: dict[int, list[int]] = {0: [], 1: []}
    for path in sorted(out.glob(f"{recipe}-fit-*.npz")):
        label, index = (int(part) for part in path.stem.split("-")[-2:])
        with np.load(path) as file:
            gain[label].append(file["gain"])
        rows[label].append(int(np.flatnonzero(judged.label == label)[index]))
    if not gain[0] or not gain[1]:
        return {}
    smooth, faint = np.array(gain[0]), np.array(gain[1])
    judges = {"one mass": smooth[:, 0], "two masses": smooth.sum(1)}
    found = {"one mass": faint[:, 0], "two masses": faint.sum(1)}
    for title in judged.logits:
        odds = -judged.of(title).odds()[:, 0]
        judges[title], found[title] = odds[rows[0]], odds[rows[1]]
    snr = judged.snr[rows[1]]
    result: dict[str, Any] = {
        "smooth lenses": len(smooth),
        "gain by one mass, smooth lenses": np.quantile(smooth[:, 0], [0.5, 0.9, 1.0]),
    }
    for low, high in pairwise((0.0, 7.0, 10.0, 15.0, 20.0)):
        inside = (snr >= low) & (snr < high)
        row = {"lenses": int(inside.sum())}
        for title, values in judges.items():
            if not inside.any():
                continue
            scores = np.concatenate([values, found[title][inside]])
            row[title] = roc_auc(scores, np.arange(len(scores)) >= len(values))
            row[f"{title}, above all smooth"] = float(
                (found[title][inside] > values.max()).mean()
            )
        result[f"{low:g} to {high:g}"] = row
    return result


def report(args: argparse.Namespace) -> None:
    """Prints, draws and writes."""
    results: dict[str, Any] = {}
    judged: dict[str, tuple[Judged, dict[str, Judged]]] = {}
    for recipe in ("modelJ", "modelF"):
        try:
            lenses = read_lenses(args.out, recipe)
        except ValueError as error:
            print(error)
            continue
        ideal = read_ideal(args.out, recipe, args.candidates)
        judged[recipe] = lenses, ideal
        everyone = {t: (lenses, t) for t in lenses.logits}
        everyone |= {t: (one, t) for t, one in ideal.items()}
        results[recipe] = {
            "lenses": np.bincount(lenses.label).tolist(),
            "measures": {
                t: measured(one, t, RESAMPLES if one is lenses else FEW)
                for t, (one, _) in everyone.items()
            },
            "sphere by signal": {
                t: by_signal(one, t) for t, (one, _) in everyone.items()
            },
            "told of two images": pair_errors(args.out, recipe, args.candidates),
            "together": together(lenses),
            "fits": fits(args.out, lenses, recipe),
        }
        tell(recipe, results[recipe])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1, default=list) + "\n")
    if args.plot:
        draw(judged, results, args.plot)


def tell(recipe: str, result: dict[str, Any]) -> None:
    """Prints one recipe's tables."""
    print(f"\n{recipe}, lenses of no, sphere, vort: {result['lenses']}")
    names = list(next(iter(result["measures"].values()))["value"])
    print("| | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for title, found in result["measures"].items():
        cells = [f"{found['value'][k]:.2g} ± {found['error'][k]:.1g}" for k in names]
        print(f"| {title} | " + " | ".join(cells) + " |")
    for what in ("wrong", "missed"):
        print(f"\nsphere, {what} in %, by signal-to-noise ratio from")
        rows = result["sphere by signal"]
        print("| | " + " | ".join(f"{edge:g}" for edge in EDGES[:-1]) + " |")
        print("|---" * len(EDGES) + "|")
        for title, bins in rows.items():
            cells = [f"{100 * b[what]:.1f} ({b['lenses']})" for b in bins]
            print(f"| {title} | " + " | ".join(cells) + " |")
    for key in ("told of two images", "together"):
        print(f"{key}: {json.dumps(result[key])}")
    print(json.dumps(result["fits"], default=list))


def draw(judged: dict[str, Any], results: dict[str, Any], path: Path) -> None:
    """Share of `sphere` missed against the signal, and 1 - AUC of everybody."""
    from lensequiv.plots._style import COLOURS, KEY, MARKERS, figure_class, tidy

    figure = figure_class()(figsize=(9.6, 3.9 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 2, squeeze=False)
    for (left, right), (recipe, result) in zip(panels, results.items(), strict=True):
        ideal = judged[recipe][1]
        d = np.geomspace(1, 100, 400)
        left.plot(
            d,
            norm.cdf(norm.isf(ALARMS) - d),
            color="black",
            label="told lens and substructure",
        )
        for title, colour in zip(result["sphere by signal"], COLOURS * 3, strict=False):
            if title in ideal and not title.startswith("fitted, one of 2"):
                continue
            bins = [b for b in result["sphere by signal"][title] if b["lenses"] > 2]
            share = np.array([b["missed"] for b in bins])
            n = np.array([b["lenses"] for b in bins])
            error = np.sqrt((share * (1 - share) + 1 / n) / n)
            left.errorbar(
                [b["median"] for b in bins],
                share,
                error,
                fmt="--" if title in ideal else "-",
                marker=MARKERS[0],
                markersize=4,
                color="0.45" if title in ideal else colour,
                label="told 256 of each class" if title in ideal else title,
            )
        left.set(xscale="log", xlim=(1.5, 100), ylim=(-0.02, 1.02))
        tidy(
            left,
            title=f"{recipe}: subhalos missed at 1 % false alarms",
            x="signal-to-noise ratio of the substructure",
            y="share of lenses",
        )
        left.legend(**KEY)
        names = list(result["measures"])
        found = [result["measures"][name] for name in names]
        value = [max(f["value"]["1 - AUC"], 1e-7) for f in found]
        error = [f["error"]["1 - AUC"] for f in found]
        right.errorbar(value, range(len(names)), xerr=error, fmt="o", color=COLOURS[0])
        right.set(xscale="log", yticks=range(len(names)), yticklabels=names)
        tidy(right, title=f"{recipe}: 1 - AUC, micro-average", x="1 - AUC", y="")
    figure.savefig(path, dpi=110)
