"""What single changes of the images do: a table on the screen, and reports."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from lensequiv._tables import in_columns
from lensequiv.evaluation import Perturbations
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

__all__ = [
    "check_perturbations",
    "perturbations_table",
    "write_perturbations",
]

_STEM = "perturbations"
_CAPTION = "Accuracy, micro-average AUC and share of flagged images under each change."
_NOTE = "* Within what modelF-varied and modelJ-varied draw for each lens."


def check_perturbations(out: str | Path) -> list[Path]:
    """The files that `write_perturbations` makes, after making sure that it can.

    Args:
        out: See `write_perturbations`.

    Returns:
        The files.

    Raises:
        FileExistsError: One of them exists.
        ImportError: The report has a picture, and matplotlib is not installed.
        ValueError: `out` ends like a file of another kind.
    """
    out = Path(out)
    kind = out.suffix.lower()
    if out.is_dir() or not re.fullmatch(r"\.[a-z]+", kind):
        files = [out / f"{_STEM}{ending}" for ending in (".json", ".csv", ".html")]
    elif kind == ".md":
        files = [out, out.with_name(f"{out.stem}-{_STEM}.png")]
    elif kind in (".json", ".csv", ".html"):
        files = [out]
    else:
        raise ValueError(
            f"{out}: expected a folder, or a .json, .csv, .html or .md file"
        )
    for file in files:
        if file.exists():
            raise FileExistsError(
                f"{file} exists: choose a new name, or remove it first"
            )
    if {".html", ".png"} & {file.suffix.lower() for file in files}:
        from lensequiv.plots._style import figure_class

        figure_class()
    return files


def write_perturbations(result: Perturbations, out: str | Path) -> list[Path]:
    """Writes what `lensequiv.evaluation.perturb` found.

    Args:
        result: What to write.
        out: A folder, which gets `perturbations.json`, `.csv` and `.html`; or one file:
            `.json`, with all there is; `.csv`, a row for each change; `.html`, a page
            that needs no other file and no network; or `.md`, with its picture beside
            it. Folders are made as needed.

    Returns:
        The files written.

    Raises:
        FileExistsError: One of them exists.
        ImportError: The report has a picture, and matplotlib is not installed.
        ValueError: `out` ends like a file of another kind.
    """
    from lensequiv.plots import plot_perturbations

    files = check_perturbations(out)
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        kind = file.suffix.lower()
        if kind == ".png":
            content = saved(plot_perturbations(result), "png")
        elif kind == ".json":
            content = json_text(result.to_dict()).encode()
        elif kind == ".csv":
            content = _csv(result).encode()
        elif kind == ".html":
            content = _html(result).encode()
        else:
            content = _markdown(result, files[-1]).encode()
        write_atomically(file, content)
    return files


def perturbations_table(result: Perturbations) -> str:
    """Plain text: title, a line for each change, and what the star means."""
    lines = in_columns([_heading(result), *_rows(result)], numbers=True)
    return "\n".join([f"{_title(result)}", "", *lines, *_notes(result)])


def _title(result: Perturbations) -> str:
    name = result.weights["name"] or result.weights["model"]
    images = f"{result[0].images} lenses a change" if len(result) else "no change"
    return f"{name} on changes of {result.recipe}, seed {result.seed}: {images}"


def _notes(result: Perturbations) -> list[str]:
    return ["", _NOTE] if any(row.within for row in result) else []


def _heading(result: Perturbations) -> list[str]:
    classes = list(result[0].answers) if len(result) else []
    return [
        "change",
        *("accuracy", "micro AUC", "flagged"),
        *(f"answers {name}" for name in classes),
    ]


def _rows(result: Perturbations) -> list[list[str]]:
    return [
        [
            row.change + " *" * row.within,
            *(f"{row.accuracy:.4f}", f"{row.auc:.4f}", f"{row.flagged:.4f}"),
            *(f"{share:.4f}" for share in row.answers.values()),
        ]
        for row in result
    ]


def _facts(result: Perturbations) -> list[tuple[str, str]]:
    weights = result.weights
    trained = f", trained on {weights['recipe']}" if weights["recipe"] else ""
    versions = ", ".join(f"{name} {v}" for name, v in result.versions.items())
    return [
        ("weights", f"{weights['name'] or '(unnamed)'} ({weights['model']}{trained})"),
        ("sha256", weights["sha256"]),
        ("recipe", f"{result.recipe}, seed {result.seed}"),
        ("precision", result.precision),
        ("evaluated with", versions),
        ("date", result.date),
    ]


def _csv(result: Perturbations) -> str:
    stream = io.StringIO()
    rows = [
        {
            **{"change": row.change, "within": row.within, "images": row.images},
            **{"accuracy": row.accuracy, "auc": row.auc, "flagged": row.flagged},
            **{f"answers.{name}": share for name, share in row.answers.items()},
        }
        for row in result
    ]
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _html(result: Perturbations) -> str:
    from lensequiv.plots import plot_perturbations

    lines = [
        "<h2>Scores</h2>",
        *html_table(_heading(result), _rows(result)),
        *(f"<p>{note}</p>" for note in _notes(result) if note),
        *html_figure(plot_perturbations(result), _CAPTION),
        "<h2>What was evaluated</h2>",
        *html_facts(_facts(result)),
    ]
    return html_page(_title(result), lines)


def _markdown(result: Perturbations, picture: Path) -> str:
    lines = [
        *(f"# {_title(result)}", ""),
        *markdown_table(_heading(result), _rows(result)),
        *(line.replace("*", "\\*") for line in _notes(result)),
        *("", f"![{_CAPTION}]({picture.name})", ""),
        *("## What was evaluated", ""),
        *markdown_table(["", ""], _facts(result)),
    ]
    return "\n".join(lines) + "\n"
