"""`lensequiv predict`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensequiv.cli._output import print_csv, print_json, print_table
from lensequiv.cli._summary import Stopwatch, rows_of_file, summary
from lensequiv.cli._types import Commands
from lensequiv.cli._weights import ADVISED, add_reading, chosen_device, load, reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lensequiv import Prediction

__all__ = ["add"]

_DEMO = ("c8-modelF", "c8-modelJ")  # one weight for each recipe of the samples


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    predict = commands.add_parser("predict", help="classify images")
    predict.add_argument("paths", nargs="*", metavar="PATH", help="images or folders")
    predict.add_argument("--weights", help=f"name or folder (default: {ADVISED})")
    predict.add_argument(
        "--output",
        choices=("table", "csv", "json"),
        help="what to print (default: table, which rounds; csv and json do not, and "
        "json has null for a score that is infinite)",
    )
    predict.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them, too")
    predict.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="write a row for each image to a .csv or .parquet file instead, for any "
        "number of images; the same command goes on where an earlier run ended",
    )
    predict.add_argument(
        "--quantities",
        action="store_true",
        help="tell quantities of the lenses, too (median, 68 and 95 %% intervals); for "
        "weights that can",
    )
    predict.add_argument(
        "--skip-errors",
        action="store_true",
        help="with --to: write why a file could not be used, and go on",
    )
    predict.add_argument(
        "--restart",
        action="store_true",
        help="with --to: begin anew where an unfinished run is found",
    )
    predict.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16"),
        default="fp32",
        help="bf16 is faster, and changes probabilities by up to 0.07; tf32, on CUDA, "
        "lies between",
    )
    add_reading(predict)
    predict.add_argument(
        "--demo",
        action="store_true",
        help=f"classify the bundled simulated samples with {' and '.join(_DEMO)}",
    )
    predict.set_defaults(run=_predict, resumes=lambda args: args.to is not None)


def _predict(args: argparse.Namespace) -> None:
    _check(args)
    args.device = chosen_device(args.device)
    if args.demo:
        _demo(args)
    elif args.to:
        _predict_to_file(args)
    else:
        watch = Stopwatch()
        rows, prediction, images, scale = _classify(
            args, args.weights or ADVISED, args.paths
        )
        _print_rows(rows, args.output)
        watch.tell(*summary(rows))
        if args.plot:
            _plot(images, [prediction], args.plot, scale)


def _check(args: argparse.Namespace) -> None:
    """Refuses, before anything is loaded, what would have no effect or fail later.

    Raises:
        ImportError: matplotlib or pyarrow is missing.
        OSError: An output file cannot be made.
        ValueError: Options that do not go together.
    """
    if args.demo == bool(args.paths):
        raise ValueError("give either paths of images or --demo")
    given = {
        "--weights": args.weights is not None,
        "--to": args.to is not None,
        "--plane": args.plane is not None,
        "--hdu": args.hdu is not None,
        "--pixel-scale": args.pixel_scale is not None,
        "--resample": args.resample,
        "--input-size": args.input_size is not None,
        "--quantities": args.quantities,
    }
    if args.demo and (useless := [name for name, value in given.items() if value]):
        raise ValueError(
            f"--demo brings its own images and weights; leave out {', '.join(useless)}"
        )
    to_screen = {"--plot": args.plot is not None, "--output": args.output is not None}
    if args.to and (useless := [name for name, value in to_screen.items() if value]):
        raise ValueError(
            f"--to writes a file and nothing else; leave out {', '.join(useless)}"
        )
    with_file = {"--skip-errors": args.skip_errors, "--restart": args.restart}
    if not args.to and (useless := [n for n, value in with_file.items() if value]):
        raise ValueError(f"{', '.join(useless)}: only with --to FILE")
    if args.to:
        from lensequiv.inference import check_output

        check_output(args.to)
    if args.plot:
        from lensequiv.plots import check_picture

        check_picture(args.plot)


def _predict_to_file(args: argparse.Namespace) -> None:
    from lensequiv import predict_to_file

    watch = Stopwatch()
    out = predict_to_file(
        load(args.weights or ADVISED, args.input_size),
        args.paths,
        args.to,
        **reading(args),
        precision=args.precision,
        on_error="skip" if args.skip_errors else "raise",
        restart=args.restart,
        quantities=args.quantities,
    )
    print(f"written to {out}", file=sys.stderr)
    watch.tell(*summary(rows_of_file(out)))


def _demo(args: argparse.Namespace) -> None:
    from lensequiv.data import sample_paths

    rows: list[dict[str, Any]] = []
    predictions, images = [], []
    for weights in _DEMO:
        samples = [str(p) for p in sample_paths(weights.split("-")[-1])]
        new_rows, prediction, new_images, scale = _classify(args, weights, samples)
        rows += [{"weights": weights, **row} for row in new_rows]
        predictions.append(prediction)
        images += new_images
    for row in rows:
        row["path"] = Path(row["path"]).name
    _print_rows(rows, args.output)
    if args.output in (None, "table"):
        right = sum(f"-{row['label']}-" in row["path"] for row in rows)
        print(
            f"\n{right} of {len(rows)} simulated samples (class in the file's name) "
            "were recognised."
        )
    if args.plot:
        _plot(images, predictions, args.plot, scale)


def _classify(
    args: argparse.Namespace, weights: str, paths: list[str]
) -> tuple[list[dict[str, Any]], Prediction, list[NDArray[np.float32]], float | None]:
    """Rows to print, the prediction, and, to be drawn, what the network saw.

    The last is the pixel scale of the pictures, if all are known to have the same.
    """
    from lensequiv.inference import Options, network_inputs
    from lensequiv.inference._rows import rows_of_prediction
    from lensequiv.inference._source import source_of

    model = load(weights, args.input_size)
    prediction = model.predict(
        paths,
        **reading(args),
        progress=True,
        precision=args.precision,
        quantities=args.quantities,
    )
    images = []
    if args.plot:
        source = source_of(paths, args.plane, args.hdu)
        scale = Options(pixel_scale=args.pixel_scale, resample=args.resample)
        seen = network_inputs(model, source, scale)
        images = [image.numpy() for image in seen]
    rows = rows_of_prediction(prediction)
    for row in rows:
        del row["error"]  # the first one ends this command
    # The samples are of the recipe that the weights were trained on.
    alike = args.demo or args.resample
    return rows, prediction, images, model.pixel_scale if alike else args.pixel_scale


def _plot(
    images: list[NDArray[np.float32]],
    parts: list[Prediction],
    path: Path,
    scale: float | None,
) -> None:
    from lensequiv import Prediction
    from lensequiv.plots import plot_predictions

    whole = Prediction.concatenate(parts)
    plot_predictions(images, whole, path=path, pixel_scale=scale)
    print(f"drawn to {path}", file=sys.stderr)


def _print_rows(rows: list[dict[str, Any]], form: str | None) -> None:
    if form == "json":
        print_json(rows)
    elif form == "csv":
        print_csv(rows)
    else:
        # The warning has the details; the table only points at it.
        hidden = {"unlike_training", "notes"}
        if all(row["ood_score"] is None for row in rows):
            hidden.add("ood_score")
        flagged = any(row["unlike_training"] for row in rows)
        marks = ("", "unlike training")
        print_table(
            [
                {k: value for k, value in with_interval(row).items() if k not in hidden}
                | ({"": marks[row["unlike_training"]]} if flagged else {})
                for row in rows
            ]
        )


def with_interval(row: dict[str, Any]) -> dict[str, Any]:
    """A row for people: of each quantity one column, with its 68 % interval."""
    low, high = "_lower_68", "_upper_68"
    names = [key.removesuffix(low) for key in row if key.endswith(low)]
    short = dict(row)
    for name in names:
        if row[name] is None:
            short[name] = ""
        else:
            ends = (row[name + part] for part in (low, high))
            short[name] = f"{row[name]:.4g} [{', '.join(f'{x:.4g}' for x in ends)}]"
        for part in (low, high, "_lower_95", "_upper_95"):
            del short[name + part]
    return short
