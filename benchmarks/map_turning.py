"""Whether the map turns with the lens: between the pixels, measured; and a film of it.

    python benchmarks/map_turning.py [--film maps-turning.gif] [--json FILE]

Lenses of Model J with substructure, each rendered anew at every angle, with noise of
its own where `--noise` asks for it. Two numbers for each angle: how far the presence,
turned back, is from that of the unturned lens (relative, in the disc that every turn
keeps), beside what turning it there and back by interpolation changes alone; and how
far the surest place has moved, turned back, where it is likelier than not.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate

import lensequiv
from lensequiv.domain import OutOfDomainWarning
from lensequiv.files import check_output
from lensequiv.inference import SubstructureMap
from lensequiv.models import LensNetwork
from lensequiv.plots import check_picture
from lensequiv.plots._style import SMALL, draw_image, figure_class
from lensequiv.simulation import get_recipe, simulate

# An odd frame, so that a lens turns about the centre of its pixel.
J = replace(get_recipe("modelJ"), pixels=151)
ANGLES = (15.0, 30.0, 45.0, 90.0)
SURE = 0.5
SEED = 4343
FRAMES = 24
Array = NDArray[np.float64]


def turned(presence: Array, angle: float) -> Array:
    """A map turned counterclockwise as plots show it, rows upwards."""
    return rotate(presence, -angle, reshape=False, order=1)


def inside(presence: Array) -> NDArray[np.bool_]:
    """The cells of the largest disc but one."""
    rows, columns = np.indices(presence.shape) - (len(presence) - 1) / 2
    return np.hypot(rows, columns) < len(presence) / 2 - 1


def surest(one: SubstructureMap) -> complex | None:
    """The surest place, x + iy in arcsec, or None if none is sure."""
    found = one.detections(SURE)
    return complex(found[0].x, found[0].y) if found else None


def compared(
    before: list[SubstructureMap], after: list[SubstructureMap], angle: float
) -> dict[str, float]:
    """The numbers of one angle."""
    changes, floors, moved = [], [], []
    for one, other in zip(before, after, strict=True):
        a, b = one.presence.double().numpy(), other.presence.double().numpy()
        there = inside(a)
        size = np.linalg.norm(a[there])
        changes.append(np.linalg.norm((turned(b, -angle) - a)[there]) / size)
        again = turned(turned(a, angle), -angle)
        floors.append(np.linalg.norm((again - a)[there]) / size)
        place, place_after = surest(one), surest(other)
        if place is not None and place_after is not None:
            back = place_after * np.exp(-1j * np.radians(angle))
            moved.append(abs(back - place))
    return {
        "angle": angle,
        "change": float(np.median(changes)),
        "interpolation": float(np.median(floors)),
        "sure": len(moved),
        "moved_arcsec": float(np.median(moved)) if moved else float("nan"),
    }


def film(model: LensNetwork, path: Path) -> None:
    """A lens of `sphere` and its map at every fifteenth degree, as a GIF."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    frames = []
    for number in range(FRAMES):
        angle = 360 * number / FRAMES
        lens = simulate(J, 6, seed=77, rotation=angle)
        (one,) = model.predict_map(lens.images[2:3])
        figure: Any = figure_class()(figsize=(5.2, 2.7), dpi=75, layout="constrained")
        image, presence = figure.subplots(1, 2, sharex=True, sharey=True)
        draw_image(image, lens.images[2].numpy(), J.pixel_scale)
        presence.imshow(
            one.presence,
            origin="lower",
            extent=one.extent,
            vmin=0,
            vmax=1,
            cmap="cividis",
        )
        left, right, bottom, top = one.extent
        for panel, title in (
            (image, f"lens at {angle:g} degrees"),
            (presence, "presence"),
        ):
            panel.set_title(title, fontsize=SMALL)
            panel.tick_params(labelsize=SMALL)
            panel.set(xlim=(left, right), ylim=(bottom, top))
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())
        frames.append(Image.fromarray(pixels).convert("RGB"))
    palette = frames[0].quantize(160)
    pictures = [frame.quantize(palette=palette, dither=0) for frame in frames]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=180, loop=0
    )


def main() -> None:
    """Measures, prints a table, films."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--weights", default="c8-modelJ")
    p.add_argument("--lenses", type=int, default=40, help="of `sphere`")
    p.add_argument("--noise", action="store_true", help="with photon noise")
    p.add_argument("--film", type=lambda path: check_picture(path, (".gif",)))
    p.add_argument("--json", type=check_output)
    args = p.parse_args()
    warnings.simplefilter("ignore", OutOfDomainWarning)
    model = lensequiv.from_pretrained(args.weights)

    def maps(angle: float) -> list[SubstructureMap]:
        made = simulate(
            J,
            3 * args.lenses,
            seed=SEED,
            rotation=angle,
            noise=args.noise,
        )
        which = made.labels == made.classes.index("sphere")
        return model.predict_map(made.images[which])

    before = maps(0.0)
    rows = [compared(before, maps(angle), angle) for angle in ANGLES]
    print(
        "| angle | change of the presence | by interpolation | sure | moved, arcsec |"
    )
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['angle']:g} | {row['change']:.3f} | {row['interpolation']:.3f} | "
            f"{row['sure']} | {row['moved_arcsec']:.3f} |"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    if args.film:
        film(model, args.film)


if __name__ == "__main__":
    main()
