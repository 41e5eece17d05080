"""Lenses and what networks and observers say of them, for `limit_report.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ideal_observer
import numpy as np
from scipy.stats import norm

ALARMS = 0.01  # share of smooth lenses that are taken for substructure
DRAWS = {1: 8, 16: 2}  # noise of each candidate, by how many are told; else once


@dataclass
class Judged:
    """Lenses and what somebody says of them.

    Attributes:
        label: (N,) true class: 0 no, 1 sphere, 2 vort.
        snr: (N,) signal-to-noise ratio of the substructure.
        logits: (N, 3) by who judged.
        cluster: (N,) lenses of one number are not independent.
    """

    label: np.ndarray
    snr: np.ndarray
    logits: dict[str, np.ndarray]
    cluster: np.ndarray

    def of(self, title: str, rows: np.ndarray | slice = slice(None)) -> Scores:
        """One judge's scores of some lenses."""
        return Scores(self.label[rows], self.snr[rows], self.logits[title][rows])

    def resampled(self, rng: np.random.Generator) -> np.ndarray:
        """Rows of a bootstrap set: clusters drawn again, within each class."""
        rows = []
        for label in range(3):
            own = np.flatnonzero(self.label == label)
            names, first = np.unique(self.cluster[own], return_index=True)
            parts = np.split(own, np.sort(first)[1:])
            rows += [parts[i] for i in rng.integers(len(names), size=len(names))]
        return np.concatenate(rows)


@dataclass
class Scores:
    """True classes, signal-to-noise ratios and logits of lenses."""

    label: np.ndarray
    snr: np.ndarray
    logits: np.ndarray

    def odds(self) -> np.ndarray:
        """Logarithm of p / (1 - p) for each class: as p, and never 1."""
        others = [np.delete(self.logits, k, 1) for k in range(3)]
        return np.stack(
            [self.logits[:, k] - np.logaddexp(*others[k].T) for k in range(3)], 1
        )

    def one_minus_auc(self) -> float:
        """Micro-average, of as many lenses of each class."""
        weight = (1 / np.bincount(self.label, minlength=3))[self.label].repeat(3)
        odds = self.odds().ravel()
        positive = np.eye(3, dtype=bool)[self.label].ravel()
        _, at = np.unique(odds, return_inverse=True)
        yes = np.bincount(at, weight * positive)
        no = np.bincount(at, weight * ~positive)
        above = yes.sum() - yes.cumsum() + yes / 2
        # Negatives above positives, each pair by its weight.
        return 1 - float((no * above).sum() / (yes.sum() * no.sum()))

    def wrong(self) -> np.ndarray:
        """Whether the likeliest class is another, (N,)."""
        return self.logits.argmax(1) != self.label

    def missed(self) -> np.ndarray:
        """Whether the lens looks smoother than 1 % of the smooth ones, (N,)."""
        no = self.odds()[:, 0]
        return no > np.quantile(no[self.label == 0], ALARMS)

    def measures(self) -> dict[str, float]:
        """Numbers of the first two tables."""
        wrong, sphere = self.wrong(), self.label == 1
        calls = self.logits.argmax(1)
        return {
            "1 - AUC": self.one_minus_auc(),
            "wrong": float(np.mean([wrong[self.label == k].mean() for k in range(3)])),
            "smooth called substructure": float(wrong[self.label == 0].mean()),
            "sphere called no": float((calls[sphere] == 0).mean()),
            "sphere called vort": float((calls[sphere] == 2).mean()),
            "vort called sphere or no": float(wrong[self.label == 2].mean()),
            "sphere missed at 1 % false alarms": float(self.missed()[sphere].mean()),
        }


def read_lenses(out: Path, recipe: str) -> Judged:
    """What `detection_limit.py lenses` has kept so far.

    Raises:
        ValueError: There are not lenses of all classes.
    """
    parts = []
    for label in range(3):
        for path in sorted(out.glob(f"{recipe}-lenses-{label}-*.npz")):
            with np.load(path) as file:
                parts.append((label, dict(file)))
    if len({label for label, _ in parts}) < 3:
        raise ValueError(f"{out} does not hold {recipe} lenses of all classes")
    titles = set.intersection(*(set(part) for _, part in parts)) - {"snr"}
    number = [len(part["snr"]) for _, part in parts]
    return Judged(
        label=np.repeat([label for label, _ in parts], number),
        snr=np.concatenate([part["snr"] for _, part in parts]),
        logits={
            title: np.concatenate([part[title] for _, part in parts])
            for title in sorted(titles)
        },
        cluster=np.arange(sum(number)),
    )


def read_ideal(out: Path, recipe: str, candidates: int) -> dict[str, Judged]:
    """What ideal observers say, by kind of knowledge and number of candidates."""
    files = sorted(out.glob(f"{recipe}-ideal-{candidates}-*.npz"))
    result = {}
    for kind in ideal_observer.KINDS:
        for among in (1, 16, candidates):
            rng = np.random.default_rng(0)
            parts = []
            for path in files:
                with np.load(path) as file:
                    gram = file[kind]
                draws = DRAWS.get(among, 1)
                parts.append(ideal_observer.log_evidence(gram, among, draws, rng))
            if not parts:
                continue
            logits, label, snr = (np.concatenate(p) for p in zip(*parts, strict=True))
            cluster = np.repeat(np.arange(len(parts)), [len(p[1]) for p in parts])
            title = f"{kind}, one of {among}"
            order = np.lexsort((cluster, label))
            result[title] = Judged(
                label[order], snr[order], {title: logits[order]}, cluster[order]
            )
    return result


def pair_errors(out: Path, recipe: str, candidates: int) -> dict[str, float]:
    """Share wrong of an observer who chooses between two images, in expectation.

    Both are known, so that half of the distance in units of the noise decides: this is
    the observer told one of 1, with two classes in place of three and without the
    chance of a draw.
    """
    errors: dict[str, list[float]] = {}
    for path in sorted(out.glob(f"{recipe}-ideal-{candidates}-*.npz")):
        with np.load(path) as file:
            grams = {kind: file[kind] for kind in ideal_observer.KINDS}
        for kind, gram in grams.items():
            own, m = np.diag(gram), len(gram) // 2
            between = own[:m] + own[m:] - 2 * np.diag(gram[:m, m:])
            pairs = {"sphere": own[:m], "vort": own[m:], "sphere and vort": between}
            for pair, d2 in pairs.items():
                wrong = norm.cdf(-np.sqrt(d2.clip(min=0)) / 2).mean()
                errors.setdefault(f"{kind}, {pair}", []).append(float(wrong))
    return {name: float(np.mean(values)) for name, values in errors.items()}
