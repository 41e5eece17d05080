"""`lensequiv map`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensequiv.cli._output import print_csv, print_json, print_table
from lensequiv.cli._types import Commands
from lensequiv.cli._weights import ADVISED, add_reading, chosen_device, load, reading

if TYPE_CHECKING:
    from lensequiv.inference import SubstructureMap

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    p = commands.add_parser("map", help="map the substructure of lenses")
    p.add_argument("paths", nargs="+", metavar="PATH", help="images or folders")
    p.add_argument(
        "--weights",
        default=ADVISED,
        help=f"name or folder of weights that draw maps (default: {ADVISED})",
    )
    p.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="write the maps to a .fits, .npz or .npy file; FITS has the world "
        "coordinates of the image",
    )
    p.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them, too")
    p.add_argument(
        "--false-alarms",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="list the places that so few smooth lenses have (default: 0.01)",
    )
    p.add_argument(
        "--output",
        choices=("table", "csv", "json"),
        default="table",
        help="what to print: a row for each place that was found, and one for each "
        "image in which none was (default: table, which rounds)",
    )
    add_reading(p)
    p.set_defaults(run=_map)


def _map(args: argparse.Namespace) -> None:
    from lensequiv.inference import (
        Options,
        check_map_output,
        network_inputs,
        source_of,
        write_maps,
    )

    if args.plot:
        from lensequiv.plots import check_picture, plot_maps

        check_picture(args.plot)
    source = source_of(args.paths, args.plane, args.hdu)
    if args.to:
        check_map_output(args.to, len(source.names))
    args.device = chosen_device(args.device)
    model = load(args.weights, args.input_size)
    model.check_map()
    assert model.map_spec is not None
    threshold = model.map_spec.threshold(args.false_alarms)
    maps = model.predict_map(args.paths, **reading(args), progress=True)
    rows = [row for one in maps for row in _rows(one, threshold)]
    {"table": print_table, "csv": print_csv, "json": print_json}[args.output](rows)
    if args.to:
        hdu = args.hdu if args.plane is None else args.plane
        write_maps(maps, args.to, hdu=hdu)
        print(f"written to {args.to}", file=sys.stderr)
    if args.plot:
        scale = Options(pixel_scale=args.pixel_scale, resample=args.resample)
        seen = network_inputs(model, source, scale)
        images = [image.numpy() for image in seen]
        plot_maps(maps, images, threshold=threshold, path=args.plot)
        print(f"drawn to {args.plot}", file=sys.stderr)


def _rows(one: SubstructureMap, threshold: float) -> list[dict[str, Any]]:
    """What is printed of a map: its detections, or that there is none."""
    common = {"path": one.path, "highest_presence": one.score}
    found = one.detections(threshold)
    if not found:
        empty = dict.fromkeys(("x_arcsec", "y_arcsec", "column", "row"), "")
        return [{**common, "found": 0, **empty, "presence": "", "convergence": ""}]
    return [
        {
            **common,
            "found": number,
            "x_arcsec": place.x,
            "y_arcsec": place.y,
            "column": place.column,
            "row": place.row,
            "presence": place.probability,
            "convergence": place.convergence,
        }
        for number, place in enumerate(found, start=1)
    ]
