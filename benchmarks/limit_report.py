"""Tables and figure of `detection_limit.py`."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import limit_fits
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
    """Fits of one and two masses beside the networks, on the same lenses.

    A lens is found if its score is above that of every smooth lens that was fitted.
    """
    gain: dict[int, list[np.ndarray]] = {0: [], 1: []}
    rows: dict[int, list[int]] = {0: [], 1: []}
    for path in sorted(out.glob(f"{recipe}-fit-*.npz")):
        label, index = (int(part) for part in path.stem.split("-")[-2:])
        with np.load(path) as file:
            gain[label].append(file["gain"])
        rows[label].append(int(np.flatnonzero(judged.label == label)[index]))
    if not gain[0] or not gain[1]:
        return {}
    masses = {label: np.array(found).cumsum(1) for label, found in gain.items()}
    scores = {
        f"{count} mass(es)": [masses[label][:, k] for label in (0, 1)]
        for k, count in enumerate(("one", "two"))
    }
    for title in judged.logits:
        odds = -judged.of(title).odds()[:, 0]
        scores[title] = [odds[rows[0]], odds[rows[1]]]
    snr, bins = judged.snr[rows[1]], []
    for low, high in pairwise(limit_fits.EDGES):
        inside = (snr >= low) & (snr < high)
        if not inside.any():
            continue
        row = {"from": low, "lenses": int(inside.sum())}
        row["median"] = float(np.median(snr[inside]))
        for title, (smooth, faint) in scores.items():
            both = np.concatenate([smooth, faint[inside]])
            row[f"AUC, {title}"] = roc_auc(both, np.arange(len(both)) >= len(smooth))
            row[f"found, {title}"] = int((faint[inside] > smooth.max()).sum())
        row["missed"] = 1 - row["found, one mass(es)"] / row["lenses"]
        bins.append(row)
    return {
        "smooth lenses": len(gain[0]),
        "gain by one mass, smooth": np.sort(masses[0][:, 0]).round(1).tolist(),
        "bins": bins,
    }


def report(args: argparse.Namespace) -> None:
    """Prints, draws and writes."""
    results: dict[str, Any] = {}
    for recipe in ("modelJ", "modelF"):
        try:
            lenses = read_lenses(args.out, recipe)
        except ValueError as error:
            print(error)
            continue
        ideal = read_ideal(args.out, recipe, args.candidates)
        everyone = {t: (lenses, t) for t in lenses.logits}
        everyone |= {t: (one, t) for t, one in ideal.items()}
        results[recipe] = {
            "lenses": np.bincount(lenses.label).tolist(),
            "networks": list(lenses.logits),
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
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.plot:
        draw(results, args.plot)


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
    print(json.dumps(result["fits"]))


def draw(results: dict[str, Any], path: Path) -> None:
    """Share of `sphere` missed against the signal, a panel for each recipe."""
    from lensequiv.plots._style import KEY, figure_class, line_styles, tidy

    figure = figure_class()(figsize=(4.9 * len(results), 3.9), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for panel, (recipe, result) in zip(panels, results.items(), strict=True):
        d = np.geomspace(1, 100, 400)
        panel.plot(
            d,
            norm.cdf(norm.isf(ALARMS) - d),
            color="black",
            label="told lens and substructure",
        )
        shown = {t: result["sphere by signal"][t] for t in result["networks"]}
        if result["fits"]:
            shown["fit of one point mass"] = result["fits"]["bins"]
        for (title, rows), look in zip(
            shown.items(), line_styles(len(shown)), strict=True
        ):
            bins = [row for row in rows if row["lenses"] > 1]
            share = np.array([row["missed"] for row in bins])
            n = np.array([row["lenses"] for row in bins])
            # Wilson's interval of one standard deviation.
            centre = (share + 0.5 / n) / (1 + 1 / n)
            half = np.sqrt(share * (1 - share) / n + 0.25 / n**2) / (1 + 1 / n)
            bars = np.stack([share - centre + half, centre + half - share]).clip(min=0)
            at = [row["median"] for row in bins]
            panel.errorbar(at, share, bars, markersize=4, label=title, **look)
        panel.set(xscale="log", xlim=(1.5, 100), ylim=(-0.02, 1.02))
        ticks = (2, 5, 10, 20, 50, 100)
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        tidy(
            panel,
            title=f"{recipe}: subhalos missed at 1 % false alarms",
            x="signal-to-noise ratio of the substructure",
            y="share of the lenses of sphere",
        )
        panel.legend(**KEY)
    figure.savefig(path, dpi=110)
