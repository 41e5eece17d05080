"""An evaluation as files: JSON, a web page or Markdown."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from lensequiv.evaluation import ModelEvaluation
from lensequiv.files import write_atomically
from lensequiv.reports._pages import (
    html_facts,
    html_figure,
    html_page,
    html_table,
    json_text,
    markdown_table,
    saved,
)
from lensequiv.reports._tables import facts, metric_rows, parts, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_report", "write_report"]

_STEM = "evaluation"
_PICTURES = {
    "roc": "ROC curves: each class against the rest, and the micro-average.",
    "confusion": "Confusion matrix: images, and their share of the true class.",
    "reliability": (
        "Reliability: how often an answer of a given confidence is right, with 95 % "
        "intervals (Wilson), and how many images there are."
    ),
}


def check_report(out: str | Path) -> list[Path]:
    """The files that `write_report` makes, after making sure that it can.

    Args:
        out: See `write_report`.

    Returns:
        The files.

    Raises:
        FileExistsError: One of them exists.
        ImportError: The report has pictures, and matplotlib is not installed.
        ValueError: `out` ends like a file of another kind.
    """
    out = Path(out)
    kind = out.suffix.lower()
    if out.is_dir() or not re.fullmatch(r"\.[a-z]+", kind):
        files = [out / f"{_STEM}.json", out / f"{_STEM}.html"]
    elif kind == ".md":
        files = [out, *(_picture_file(out, name) for name in _PICTURES)]
    elif kind in (".json", ".html"):
        files = [out]
    else:
        raise ValueError(f"{out}: expected a folder, or a .json, .html or .md file")
    for file in files:
        if file.exists():
            raise FileExistsError(
                f"{file} exists: choose a new name, or remove it first"
            )
    if files[-1].suffix.lower() != ".json":
        from lensequiv.plots._style import figure_class

        figure_class()
    return files


def write_report(result: ModelEvaluation, out: str | Path) -> list[Path]:
    """Writes what `evaluate` found.

    Args:
        result: What to write.
        out: A folder, which gets `evaluation.json` and `evaluation.html`; or one file:
            `.json`, with all numbers, curves included; `.html`, a page that needs no
            other file and no network; or `.md`, with its pictures beside it. Folders
            are made as needed.

    Returns:
        The files written.

    Raises:
        FileExistsError: One of them exists.
        ImportError: The report has pictures, and matplotlib is not installed.
        ValueError: `out` ends like a file of another kind.
    """
    files = check_report(out)
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        kind = file.suffix.lower()
        if kind == ".json":
            write_atomically(file, json_text(result.to_dict()).encode())
        elif kind == ".html":
            write_atomically(file, _html(result).encode())
        elif kind == ".md":
            write_atomically(file, _markdown(result, file).encode())
            for name, figure in _figures(result).items():
                picture = _picture_file(file, name)
                write_atomically(picture, saved(figure, "png"))
    return files


def _picture_file(report: Path, name: str) -> Path:
    return report.with_name(f"{report.stem}-{name}.png")


def _figures(result: ModelEvaluation) -> dict[str, Figure]:
    """By the keys of `_PICTURES`."""
    from lensequiv.plots import plot_confusion, plot_reliability, plot_roc

    evaluations = parts(result)
    return {
        "roc": plot_roc(evaluations),
        "confusion": plot_confusion(evaluations),
        "reliability": plot_reliability(evaluations),
    }


def _html(result: ModelEvaluation) -> str:
    heading, *rows = metric_rows(result)
    lines = [
        *(f'<p class="remark">{escape(text)}</p>' for text in result.remarks),
        "<h2>Scores</h2>",
        *html_table(heading, rows),
    ]
    for name, figure in _figures(result).items():
        lines += html_figure(figure, _PICTURES[name])
    lines += ["<h2>What was evaluated</h2>", *html_facts(facts(result))]
    return html_page(title(result), lines)


def _markdown(result: ModelEvaluation, file: Path) -> str:
    heading, *rows = metric_rows(result)
    lines = [f"# {title(result)}", ""]
    for text in result.remarks:
        lines += [f"**{text}**", ""]
    lines += ["## Scores", "", *markdown_table(heading, rows), ""]
    for name, caption in _PICTURES.items():
        lines += [f"![{caption}]({_picture_file(file, name).name})", ""]
    lines += ["## What was evaluated", "", *markdown_table(["", ""], facts(result))]
    return "\n".join(lines) + "\n"
