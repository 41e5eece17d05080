"""Draws the README's picture, lenses of all recipes, the logo and the social card.

    python docs/pictures.py [hero] [recipes] [logos] [card]

Writes `images/hero.png`, `images/recipes.png`, and `logo.svg`, `favicon.svg`,
`social.png` in `_static`; without names all of them. The lenses are simulated with
fixed seeds. Those of `hero.png` are classified by a bundled weight; the middle panels
show where the substructure changes the image, which the simulator knows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import lensequiv
from lensequiv.saliency import substructure_signal
from lensequiv.simulation import RECIPES, simulate

HERE = Path(__file__).parent
WEIGHT, RECIPE, SEED = "c8-modelJ", "modelJ", 12
COLOURS = ("#0072B2", "#E69F00", "#009E73")
NAMES = {"no": "no substructure", "sphere": "subhalos", "vort": "vortex"}
# A ring of four arcs, each turned by 90 degrees: it is itself after a turn.
ARC = "M 32 8 A 24 24 0 0 1 54.6 24"
LOGO = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">
  <title>lensequiv</title>
  {ground}
  <g fill="none" stroke-width="7" stroke-linecap="round">
    <path d="{arc}" stroke="#0072B2"/>
    <path d="{arc}" stroke="#E69F00" transform="rotate(90 32 32)"/>
    <path d="{arc}" stroke="#009E73" transform="rotate(180 32 32)"/>
    <path d="{arc}" stroke="#CC79A7" transform="rotate(270 32 32)"/>
  </g>
  <circle cx="32" cy="32" r="6" fill="{centre}"/>
</svg>
"""


def hero(path: Path) -> None:
    """Three lenses: image, what the substructure changes, probabilities."""
    lenses = simulate(RECIPE, 6, seed=SEED)
    chosen = [int((lenses.labels == k).nonzero()[0]) for k in range(3)]
    parameters = {name: value[chosen] for name, value in lenses.parameters.items()}
    signal = substructure_signal(RECIPE, parameters).snr.numpy()
    images = lenses.images[chosen]
    result = lensequiv.from_pretrained(WEIGHT).predict(images)
    figure = plt.figure(figsize=(11, 3.4), layout="constrained")
    parts = figure.subfigures(1, 3, wspace=0.06)
    for k, part in enumerate(parts):
        part.suptitle(
            NAMES[lenses.classes[k]], fontsize=13, color=COLOURS[k], weight="bold"
        )
        panels = part.subplot_mosaic(
            [["lens", "map"], ["bars", "bars"]], height_ratios=[5, 2]
        )
        _lens(panels["lens"], images[k].numpy())
        _signal(panels["map"], signal[k])
        _bars(panels["bars"], result.classes, result.probabilities[k].numpy())
    figure.savefig(path, dpi=110, facecolor="white")


def _lens(panel: Any, image: Any) -> None:
    low, high = np.quantile(image, [0.25, 0.999])
    shown = np.sqrt(np.clip((image - low) / (high - low), 0, 1))[20:-20, 20:-20]
    panel.imshow(shown, cmap="magma", origin="lower")
    panel.plot([10, 30], [7, 7], color="white", lw=2)
    panel.text(20, 10, "1 arcsec", color="white", fontsize=7, ha="center")
    panel.set(xticks=[], yticks=[])
    panel.set_title("image", fontsize=9)


def _signal(panel: Any, signal: Any) -> None:
    panel.imshow(signal[20:-20, 20:-20], cmap="RdBu_r", vmin=-4, vmax=4, origin="lower")
    panel.set(xticks=[], yticks=[])
    panel.set_title("effect of substructure", fontsize=9)


def _bars(panel: Any, classes: tuple[str, ...], values: Any) -> None:
    panel.barh(classes, values, color=COLOURS)
    for k, value in enumerate(values):
        panel.text(min(value, 1) + 0.02, k, f"{value:.2f}", va="center", fontsize=9)
    panel.set(xlim=(0, 1.15), ylim=(2.5, -0.5), xticks=[])
    panel.spines[["top", "right", "bottom"]].set_visible(False)


def recipes(path: Path) -> None:
    """One lens of each class for each recipe, whose faint parts can be seen."""
    figure = plt.figure(figsize=(10, 5.4), layout="constrained")
    parts = figure.subfigures(-(-len(RECIPES) // 3), 3, wspace=0.03, hspace=0.02)
    for name, part in zip(RECIPES, parts.flat, strict=True):
        part.suptitle(name, fontsize=10, weight="bold")
        lenses = simulate(name, 9, seed=7)
        for k, panel in enumerate(part.subplots(1, 3)):
            image = lenses.images[int((lenses.labels == k).nonzero()[0])].numpy()
            low, high = np.quantile(image, [0.1, 0.9995])
            noise = 1.48 * np.median(np.abs(np.diff(image[:8]))) / 2**0.5
            unit = max(3 * noise, (high - low) / 50)
            top = np.arcsinh((high - low) / unit)
            panel.imshow(
                np.arcsinh((image - low) / unit),
                cmap="magma",
                origin="lower",
                vmin=-0.1 * top,
                vmax=top,
            )
            panel.set(xticks=[], yticks=[])
            panel.set_title(lenses.classes[k], fontsize=7, pad=2)
    figure.savefig(path, dpi=95, facecolor="white")


def logos(folder: Path) -> None:
    """The logo, and on a dark disc, so that tabs of any colour show it."""
    ring = LOGO.format(arc=ARC, centre="#8a9aa8", ground="")
    disc = '<circle cx="32" cy="32" r="32" fill="#14202b"/>'
    tab = LOGO.format(arc=ARC, centre="#ffffff", ground=disc)
    (folder / "logo.svg").write_text(ring)
    (folder / "favicon.svg").write_text(tab)


def social_card(path: Path) -> None:
    """1200 x 630 pixels, as the sites that show it ask for."""
    figure = plt.figure(figsize=(12, 6.3), facecolor="#14202b")
    ring = figure.add_axes((0.06, 0.2, 0.32, 0.6), aspect="equal")
    ring.axis("off")
    ring.set(xlim=(-32, 32), ylim=(-32, 32))
    for k, colour in enumerate(("#0072B2", "#E69F00", "#009E73", "#CC79A7")):
        angle = np.radians(np.linspace(90, 19, 60) - 90 * k)
        ring.plot(
            *(24 * np.array([np.cos(angle), np.sin(angle)])),
            color=colour,
            lw=26,
            solid_capstyle="round",
        )
    ring.add_patch(plt.Circle((0, 0), 6, color="white"))
    figure.text(0.42, 0.58, "lensequiv", color="white", fontsize=64, weight="bold")
    text = (
        "Equivariant networks that find\ndark-matter substructure\n"
        "in gravitational lenses"
    )
    figure.text(0.42, 0.28, text, color="#c9d6e0", fontsize=27, linespacing=1.4)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Draws everything anew, or what is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {
        "hero": lambda: hero(HERE / "images" / "hero.png"),
        "recipes": lambda: recipes(HERE / "images" / "recipes.png"),
        "logos": lambda: logos(HERE / "_static"),
        "card": lambda: social_card(HERE / "_static" / "social.png"),
    }
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(parts))
    names = parser.parse_args().names or list(parts)
    if unknown := set(names) - set(parts):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(parts)}")
    for name in names:
        parts[name]()


if __name__ == "__main__":
    main()
