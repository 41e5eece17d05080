"""`lensequiv predict`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensequiv.cli._types import Commands

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
    predict.add_argument(
        "--weights", default="c8-modelF", help="name or folder (default: %(default)s)"
    )
    predict.add_argument("--output", choices=("table", "csv", "json"), default="table")
    predict.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them, too")
    predict.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="write a row for each image to a .csv or .parquet file instead, for any "
        "number of images; a killed run goes on (.csv)",
    )
    predict.add_argument(
        "--skip-errors",
        action="store_true",
        help="with --to: write why a file could not be used, and go on",
    )
    predict.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="bf16 is faster, and changes probabilities by up to 0.07",
    )
    predict.add_argument("--batch-size", type=int, default=64)
    predict.add_argument("--hdu", help="number or name of the FITS extension")
    predict.add_argument(
        "--demo",
        action="store_true",
        help=f"classify the bundled simulated samples with {' and '.join(_DEMO)}",
    )
    predict.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> None:
    if args.demo == bool(args.paths):
        raise ValueError("give either paths of images or --demo")
    if args.demo:
        _demo(args)
        return
    hdu = int(args.hdu) if args.hdu and args.hdu.isdecimal() else args.hdu
    if args.to:
        _predict_to_file(args, hdu)
        return
    rows, prediction, images = _classify(args, args.weights, args.paths, hdu)
    _print_rows(rows, args.output)
    if args.plot:
        _plot(images, [prediction], args.plot)


def _predict_to_file(args: argparse.Namespace, hdu: int | str | None) -> None:
    from lensequiv import from_pretrained
    from lensequiv.streaming import predict_to_file

    out = predict_to_file(
        from_pretrained(args.weights),
        args.paths,
        args.to,
        args.batch_size,
        hdu=hdu,
        precision=args.precision,
        on_error="skip" if args.skip_errors else "raise",
    )
    print(f"written to {out}", file=sys.stderr)


def _demo(args: argparse.Namespace) -> None:
    from lensequiv.data import sample_paths

    rows: list[dict[str, Any]] = []
    predictions, images = [], []
    for weights in _DEMO:
        samples = [str(p) for p in sample_paths(weights.split("-")[-1])]
        new_rows, prediction, new_images = _classify(args, weights, samples, None)
        rows += [{"weights": weights, **row} for row in new_rows]
        predictions.append(prediction)
        images += new_images
    for row in rows:
        row["path"] = Path(row["path"]).name
    _print_rows(rows, args.output)
    if args.output == "table":
        right = sum(f"-{row['label']}-" in row["path"] for row in rows)
        print(
            f"\n{right} of {len(rows)} simulated samples (class in the file's name) "
            "were recognised."
        )
    if args.plot:
        _plot(images, predictions, args.plot)


def _classify(
    args: argparse.Namespace, weights: str, paths: list[str], hdu: int | str | None
) -> tuple[list[dict[str, Any]], Prediction, list[NDArray[np.float32]]]:
    """Rows to print, the prediction, and, to be drawn, what the network saw."""
    import torch

    from lensequiv import from_pretrained
    from lensequiv.data import read_image

    model = from_pretrained(weights)
    prediction = model.predict(
        paths, args.batch_size, hdu=hdu, progress=True, precision=args.precision
    )
    names = prediction.paths or []
    scores: list[Any] = [None] * len(prediction)
    if prediction.ood_score is not None:
        scores = prediction.ood_score.tolist()
    images = []
    if args.plot:
        read = (torch.from_numpy(read_image(name, hdu=hdu)) for name in names)
        images = [model.preprocess(image).numpy() for image in read]
    rows = [
        {
            "path": path,
            "label": label,
            **{
                name: round(float(value), 4)
                for name, value in zip(prediction.classes, values, strict=True)
            },
            "ood_score": None if score is None else round(score, 3),
            "unlike_training": bool(notes),
            "notes": "; ".join(notes),
        }
        for path, label, values, score, notes in zip(
            names,
            prediction.labels,
            prediction.probabilities,
            scores,
            prediction.notes,
            strict=True,
        )
    ]
    return rows, prediction, images


def _plot(
    images: list[NDArray[np.float32]], parts: list[Prediction], path: Path
) -> None:
    from dataclasses import replace

    import torch

    from lensequiv.plots import plot_predictions

    joined = replace(
        parts[0],
        probabilities=torch.cat([p.probabilities for p in parts]),
        logits=torch.cat([p.logits for p in parts]),
        labels=[label for p in parts for label in p.labels],
        paths=[path for p in parts for path in p.paths or []],
        notes=[note for p in parts for note in p.notes],
        ood_score=None,  # not drawn
    )
    plot_predictions(images, joined, path=path)
    print(f"drawn to {path}", file=sys.stderr)


def _print_rows(rows: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        print(json.dumps(rows, indent=2))
        return
    columns = list(rows[0])
    if form == "csv":
        writer = csv.DictWriter(sys.stdout, columns)
        writer.writeheader()
        writer.writerows(rows)
        return
    # The warning has the details; the table only points at it.
    columns = [c for c in columns if c not in ("unlike_training", "notes")]
    if all(row["ood_score"] is None for row in rows):
        columns.remove("ood_score")
    if any(row["unlike_training"] for row in rows):
        columns.append("")
        marks = ("", "unlike training")
        rows = [{**row, "": marks[row["unlike_training"]]} for row in rows]
    cells = [columns, *([_cell(row[c]) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        padded = (text.ljust(w) for text, w in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
