"""`lensequiv equivariance`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lensequiv.cli._output import print_json
from lensequiv.cli._types import Commands
from lensequiv.cli._weights import add_device, add_plane, chosen_device

if TYPE_CHECKING:
    from lensequiv.equivariance import Orbits, Report, RotatedLenses
    from lensequiv.models import LensNetwork

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "equivariance", help="measure how networks answer to rotation"
    )
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="weights (name or folder, LABEL=FOLDER to call it something), or a model "
        "to be measured untrained",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--images",
        metavar="PATH",
        help="measure on this image or folder, on the pixel grid alone",
    )
    add_plane(parser)
    what.add_argument(
        "--recipe", help="render lenses of this recipe at all angles (default: modelF)"
    )
    parser.add_argument(
        "--lenses", type=int, metavar="N", help="how many of them (default: 12)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--step",
        type=float,
        metavar="DEGREES",
        help="between two angles (default: 5)",
    )
    parser.add_argument(
        "--noise", action="store_true", help="measure with noise besides"
    )
    parser.add_argument(
        "--float64", action="store_true", help="compute in double precision"
    )
    add_device(parser)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw error against angle"
    )
    parser.add_argument(
        "--orbit",
        type=Path,
        metavar="FILE",
        help="draw one lens, its feature maps turned back and its embedding (.png), or "
        "animate them (.gif)",
    )
    parser.add_argument(
        "--lens", type=int, metavar="I", help="which lens --orbit shows (default: 0)"
    )
    parser.add_argument(
        "--projection", type=Path, metavar="FILE.png", help="draw the embeddings"
    )
    parser.add_argument(
        "--umap",
        action="store_true",
        help="--projection by UMAP (needs umap-learn), not principal components",
    )
    parser.set_defaults(run=_equivariance)


def _equivariance(args: argparse.Namespace) -> None:
    import torch

    _check(args)
    args.device = chosen_device(args.device, float64=args.float64)
    dtype = torch.float64 if args.float64 else None
    models = _models(args.names, args.seed)
    reports: list[Report] = []
    everything: list[Orbits] = []
    noisy: list[Orbits] = []
    lenses = None if args.images else _render(args, noise=False)
    noise = _render(args, noise=True) if args.noise else None
    for name, model in models.items():
        reports.append(_on_grid(name, model, args, lenses, dtype))
        for rendered, results in ((lenses, everything), (noise, noisy)):
            if rendered is not None:
                results.append(_turned(name, model, rendered, dtype, args.device))
    if args.output == "json":
        _print_json(reports, everything + noisy)
    else:
        _print_tables(reports, everything, noisy)
    if args.plot or args.projection or args.orbit:
        _draw(args, models, everything, noisy)


def _check(args: argparse.Namespace) -> None:
    """Refuses, before anything is loaded, what would have no effect or fail later.

    Fills in the defaults.

    Raises:
        ImportError: matplotlib or umap-learn is missing.
        OSError: A picture cannot be made.
        ValueError: Options that do not go together, or one out of range.
    """
    turned = {
        "--lenses": args.lenses is not None,
        "--step": args.step is not None,
        "--noise": args.noise,
        "--plot": args.plot is not None,
        "--orbit": args.orbit is not None,
        "--projection": args.projection is not None,
    }
    if args.images and (useless := [name for name, value in turned.items() if value]):
        raise ValueError(
            f"{', '.join(useless)}: only for lenses rendered at all angles; leave out "
            "--images"
        )
    for option, value in (("--plane", args.plane), ("--hdu", args.hdu)):
        if value is not None and not args.images:
            raise ValueError(f"{option}: only with --images PATH")
    if args.lens is not None and not args.orbit:
        raise ValueError("--lens: only with --orbit FILE")
    if args.umap and not args.projection:
        raise ValueError("--umap: only with --projection FILE.png")
    args.recipe = args.recipe or "modelF"
    args.lenses = 12 if args.lenses is None else args.lenses
    args.step = 5.0 if args.step is None else args.step
    args.lens = args.lens or 0
    if not 0 < args.step <= 360:
        raise ValueError(f"--step {args.step:g}: expected more than 0, at most 360")
    if not 0 <= args.lens < max(args.lenses, 1):
        raise ValueError(
            f"--lens {args.lens}: expected from 0 to {args.lenses - 1}, since "
            f"--lenses is {args.lenses}"
        )
    pictures = [path for path in (args.plot, args.orbit, args.projection) if path]
    if pictures:
        from lensequiv.plots import check_picture

        for path in pictures:
            if path != args.orbit or path.suffix.lower() != ".gif":
                check_picture(path)
            else:  # an animation
                check_picture(path, [".gif"])
    if args.umap and find_spec("umap") is None:
        raise ImportError("--umap needs umap-learn: pip install umap-learn")


def _models(names: list[str], seed: int) -> dict[str, LensNetwork]:
    import torch

    from lensequiv import create_model, from_pretrained, list_models

    models: dict[str, LensNetwork] = {}
    for given in names:
        label, _, source = given.rpartition("=")
        if source in list_models():
            torch.manual_seed(seed)
            label = label or f"{source}, untrained"
            models[label] = create_model(source).eval()
        else:
            models[label or Path(source).name] = from_pretrained(source)
    if len(models) < len(names):
        raise ValueError(
            f"{len(names)} models, but only {len(models)} different names: "
            "give them as LABEL=FOLDER"
        )
    return models


def _render(args: argparse.Namespace, *, noise: bool) -> RotatedLenses:
    from lensequiv.equivariance import rotated_lenses
    from lensequiv.simulation import load_recipe

    count = int(360 / args.step + 1e-9)
    return rotated_lenses(
        load_recipe(args.recipe),
        args.lenses,
        seed=args.seed,
        angles=[i * args.step for i in range(count + 1)],
        noise=noise,
        progress=True,
    )


def _on_grid(
    name: str,
    model: LensNetwork,
    args: argparse.Namespace,
    lenses: RotatedLenses | None,
    dtype: Any,
) -> Report:
    from lensequiv.equivariance import measure

    images: Any = args.images if lenses is None else lenses.reference
    which = {"plane": args.plane, "hdu": args.hdu}
    found = measure(model, images, dtype=dtype, device=args.device, **which)
    return replace(found, model=name)


def _turned(
    name: str, model: LensNetwork, lenses: RotatedLenses, dtype: Any, device: Any
) -> Orbits:
    from lensequiv.equivariance import orbits

    return orbits(model, lenses, name=name, dtype=dtype, progress=True, device=device)


def _print_json(reports: list[Report], orbits: list[Orbits]) -> None:
    found = [report.to_dict() for report in reports]
    for orbit in orbits:
        spreads = _spreads(orbit)
        found.append({**orbit.report().to_dict(), "spread": spreads})
    print_json(found)


def _print_tables(
    reports: list[Report], everything: list[Orbits], noisy: list[Orbits]
) -> None:
    from lensequiv.equivariance import Element

    for i, report in enumerate(reports):
        print(report, end="\n\n")
        for orbit in (*everything[i : i + 1], *noisy[i : i + 1]):
            turned = orbit.report()
            quarters = [Element(float(a)) for a in range(0, 361, 45)]
            print(f"{turned.title}\n{turned.table(quarters)}")
            for quantity in ("logits", "embedding"):
                worst = max(turned.of(quantity), key=lambda row: row.error)
                print(f"most for the {quantity}: {worst.error:.1e}, {worst.element}")
            for quantity, spread in _spreads(orbit).items():
                print(f"spread of the {quantity}: {spread:.2g}")
            print()


def _spreads(orbit: Orbits) -> dict[str, float]:
    """See `orbit_spread`; none for a single lens."""
    from lensequiv.equivariance import orbit_spread

    if len(orbit.lenses.reference) < 2:
        return {}
    names = ("logits", "embedding")
    return {name: orbit_spread(orbit.quantities[name]) for name in names}


def _draw(
    args: argparse.Namespace,
    models: dict[str, LensNetwork],
    everything: list[Orbits],
    noisy: list[Orbits],
) -> None:
    from lensequiv.equivariance import orbit_maps
    from lensequiv.plots import (
        animate_orbit,
        plot_equivariance,
        plot_orbit,
        plot_projection,
    )

    if args.plot:
        reports = [orbit.report() for orbit in everything + noisy]
        plot_equivariance(reports, path=args.plot)
    if args.projection:
        method: Literal["pca", "umap"] = "umap" if args.umap else "pca"
        plot_projection(everything, method=method, path=args.projection)
    if args.orbit:
        pairs = zip(models.values(), everything, strict=True)
        maps = [orbit_maps(model, orbit, lens=args.lens) for model, orbit in pairs]
        if args.orbit.suffix.lower() == ".gif":
            animate_orbit(maps, args.orbit)
        else:
            plot_orbit(maps, path=args.orbit)
    for path in (args.plot, args.projection, args.orbit):
        if path:
            print(f"drawn to {path}", file=sys.stderr)
