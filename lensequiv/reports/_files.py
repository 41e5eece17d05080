"""An evaluation as files: JSON, a web page or Markdown."""

from __future__ import annotations

import base64
import io
import json
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from lensequiv._files import write_atomically
from lensequiv.evaluation import ModelEvaluation
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
_STYLE = """\
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.scroll { overflow-x: auto; } .scroll td { white-space: nowrap; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; vertical-align: top;
  border-bottom: 1px solid #ddd; }
thead th { border-bottom: 2px solid #444; }
tbody th { font-weight: normal; } .facts th { white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
.remark { border-left: 4px solid #D55E00; padding: .2rem .8rem; background: #fdf3ec; }
figure { margin: 1.5rem 0; break-inside: avoid; }
img { width: 100%; max-width: 50rem; }
figcaption, footer { color: #444; font-size: .9rem; }
@media print { body { font-size: 10pt; margin: 0; max-width: none; }
  h2 { break-after: avoid; } table { break-inside: avoid; }
  .scroll { overflow: visible; font-size: 8pt; } }
"""


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
            write_atomically(file, _json(result).encode())
        elif kind == ".html":
            write_atomically(file, _html(result).encode())
        elif kind == ".md":
            write_atomically(file, _markdown(result, file).encode())
            for name, figure in _figures(result).items():
                picture = _picture_file(file, name)
                write_atomically(picture, _saved(figure, "png"))
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


def _saved(figure: Figure, form: str) -> bytes:
    stream = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {}
    figure.savefig(stream, format=form, dpi=110, metadata=metadata)
    return stream.getvalue()


def _json(result: ModelEvaluation) -> str:
    text = json.dumps(result.to_dict(), indent=2, allow_nan=False)
    # Lists of numbers in one line each.
    return (
        re.sub(r"\[\n[^][{}\"]*\]", lambda m: " ".join(m.group().split()), text) + "\n"
    )


def _html(result: ModelEvaluation) -> str:
    heading, *rows = metric_rows(result)
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title(result))}</title>",
        f"<style>\n{_STYLE}</style></head><body>",
        f"<h1>{escape(title(result))}</h1>",
        *(f'<p class="remark">{escape(text)}</p>' for text in result.remarks),
        '<h2>Scores</h2><div class="scroll"><table><thead><tr>',
        *(f'<th scope="col">{escape(cell)}</th>' for cell in heading),
        "</tr></thead><tbody>",
    ]
    for name, *cells in rows:
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{values}</tr>')
    lines.append("</tbody></table></div>")
    for name, figure in _figures(result).items():
        data = base64.b64encode(_saved(figure, "svg")).decode()
        lines += [
            f'<figure><img src="data:image/svg+xml;base64,{data}" '
            f'alt="{escape(_PICTURES[name])}">',
            f"<figcaption>{escape(_PICTURES[name])}</figcaption></figure>",
        ]
    lines.append('<h2>What was evaluated</h2><table class="facts"><tbody>')
    for name, value in facts(result):
        lines.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        )
    lines += [
        "</tbody></table>",
        "<footer><p>Written by <code>lensequiv evaluate</code>. The scores hold for "
        "images drawn as these were, nothing else.</p></footer>",
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _markdown(result: ModelEvaluation, file: Path) -> str:
    heading, *rows = metric_rows(result)
    lines = [f"# {title(result)}", ""]
    for text in result.remarks:
        lines += [f"**{text}**", ""]
    lines += ["## Scores", "", _row(heading), "|---" * len(heading) + "|"]
    lines += [*map(_row, rows), ""]
    for name, caption in _PICTURES.items():
        lines += [f"![{caption}]({_picture_file(file, name).name})", ""]
    lines += ["## What was evaluated", "", "| | |", "|---|---|"]
    lines += [_row(list(fact)) for fact in facts(result)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
