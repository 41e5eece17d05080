"""What all reports are made of: web pages, Markdown, JSON."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "html_facts",
    "html_figure",
    "html_page",
    "html_table",
    "json_text",
    "markdown_table",
    "saved",
]

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


def html_page(title: str, lines: Iterable[str]) -> str:
    """A whole page; `title` is text, `lines` are HTML."""
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]
    foot = [
        "<footer><p>Written by <code>lensequiv evaluate</code>. The scores hold for "
        "images drawn as these were, nothing else.</p></footer>",
        "</body></html>",
    ]
    return "\n".join([*head, *lines, *foot]) + "\n"


def html_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of text, which scrolls where the screen is narrow."""
    lines = [
        '<div class="scroll"><table><thead><tr>',
        *(f'<th scope="col">{escape(cell)}</th>' for cell in heading),
        "</tr></thead><tbody>",
    ]
    for name, *cells in rows:
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{values}</tr>')
    return [*lines, "</tbody></table></div>"]


def html_facts(facts: Iterable[tuple[str, str]]) -> list[str]:
    """A table of names with values."""
    lines = ['<table class="facts"><tbody>']
    for name, value in facts:
        lines.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        )
    return [*lines, "</tbody></table>"]


def html_figure(figure: Figure, caption: str) -> list[str]:
    """A figure within the page."""
    data = base64.b64encode(saved(figure, "svg")).decode()
    return [
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(caption)}">',
        f"<figcaption>{escape(caption)}</figcaption></figure>",
    ]


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of text."""
    return [_row(heading), "|---" * len(heading) + "|", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def saved(figure: Figure, form: str) -> bytes:
    """A figure as a file's content; the same bytes for the same figure."""
    stream = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {}
    figure.savefig(stream, format=form, dpi=110, metadata=metadata)
    return stream.getvalue()


def json_text(value: dict[str, Any]) -> str:
    """JSON, lists of numbers in one line each."""
    text = json.dumps(value, indent=2, allow_nan=False)
    return (
        re.sub(r"\[\n[^][{}\"]*\]", lambda m: " ".join(m.group().split()), text) + "\n"
    )
