"""Draws which part of the package imports which: `python docs/floors.py floors.svg`.

The rows are those of the contract in `setup.cfg`; the arrows come from the imports as
they stand in the code, the function-local and type-checking ones included. What the
ground floor holds is imported from everywhere, so arrows to it are left out, as are
those that a chain of other arrows implies. One that goes up or sideways is red.
"""

from __future__ import annotations

import ast
import configparser
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "lensequiv"
NAMES = {
    "cli": "for people",
    "plots": "pictures",
    "evaluation": "measurements",
    "models": "networks",
    "inference": "images and files",
    "spec": "the record",
    "domain": "statistics",
    "data": "arrays",
    "_checks": "ground",
}
ROW, LEFT = 74, 130
LETTER, HIGH, APART = 7.4, 28, 8  # width of a letter, height of a box, between boxes
GREY, RED = "#5b7083", "#d55e00"

Arrow = tuple[str, str]


def floors(settings: Path) -> list[list[str]]:
    """The rows of the contract, from the top."""
    parser = configparser.ConfigParser()
    parser.read(settings)
    rows = parser["importlinter:contract:floors"]["layers"].split("\n")
    return [[part.strip() for part in row.split("|")] for row in rows if row.strip()]


def imported(tree: ast.AST, parts: set[str]) -> Iterator[str]:
    """The parts of the package that a module imports, wherever it does."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == PACKAGE and (part := rest.partition(".")[0]) in parts:
                yield part


def arrows(package: Path, parts: set[str]) -> set[Arrow]:
    """Which part imports which other one."""
    found = set()
    for path in package.rglob("*.py"):
        part = path.relative_to(package).parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {(part, other) for other in imported(tree, parts)}
    return {(a, b) for a, b in found if a != b and a in parts}


def essential(found: set[Arrow]) -> set[Arrow]:
    """Without the arrows that a chain of others implies."""
    below: dict[str, set[str]] = {}
    for a, b in found:
        below.setdefault(a, set()).add(b)

    def reachable(part: str, seen: set[str]) -> set[str]:
        for other in below.get(part, set()) - seen:
            seen.add(other)
            reachable(other, seen)
        return seen

    return {
        (a, b)
        for a, b in found
        if not any(b in reachable(c, set()) for c in below[a] - {b})
    }


def draw(rows: list[list[str]], found: set[Arrow]) -> str:
    """The picture as SVG."""
    size = {p: LETTER * len(p) + 18 for row in rows for p in row}
    width = round(LEFT + max(sum(size[p] + APART for p in row) for row in rows))
    place: dict[str, tuple[float, float]] = {}
    for i, row in enumerate(rows):
        free = (width - LEFT - sum(size[p] for p in row)) / len(row)
        x = LEFT + free / 2
        for part in row:
            place[part] = (x + size[part] / 2, i * ROW + ROW / 2)
            x += size[part] + free
    level = {part: i for i, row in enumerate(rows) for part in row}
    lines, labels = [], []
    for a, b in sorted(found):
        down = level[a] < level[b]
        (x1, y1), (x2, y2) = place[a], place[b]
        y1, y2 = (y1 + HIGH / 2, y2 - HIGH / 2) if down else (y1, y2)
        bend = min(ROW, abs(y2 - y1)) / 2
        lines.append(
            f'<path d="M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} '
            f'{y2 - bend:.0f} {x2:.0f} {y2:.0f}" fill="none" '
            f'stroke="{GREY if down else RED}" stroke-width="1.4" '
            'marker-end="url(#head)"/>'
        )
    for part, (x, y) in place.items():
        labels.append(
            f'<rect x="{x - size[part] / 2:.1f}" y="{y - HIGH / 2:.0f}" rx="5" '
            f'width="{size[part]:.1f}" height="{HIGH}" fill="#eef3f7" '
            f'stroke="{GREY}"/><text x="{x:.1f}" y="{y + 4:.0f}" '
            f'text-anchor="middle">{escape(part)}</text>'
        )
        if part in NAMES:
            labels.append(
                f'<text x="8" y="{y + 4:.0f}" fill="{GREY}">{NAMES[part]}</text>'
            )
    height = ROW * len(rows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="monospace" font-size="12">',
            f"<title>Which part of {PACKAGE} imports which</title>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="6" markerHeight="6" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{GREY}"/></marker></defs>',
            *lines,
            *labels,
            "</svg>",
        ]
    )


def write(out: Path) -> None:
    """Draws this checkout."""
    rows = floors(ROOT / "setup.cfg")
    parts = {part for row in rows for part in row}
    found = arrows(ROOT / PACKAGE, parts)
    shown = {(a, b) for a, b in essential(found) if b not in rows[-1]}
    out.write_text(draw(rows, shown), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
