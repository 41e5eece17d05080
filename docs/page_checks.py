"""A Sphinx extension: no page is lost, and every internal link leads somewhere.

Sphinx writes pages of its own (`search.html`, `genindex.html`). One of ours with such a
name would be replaced without a word. And what it does not check are links in raw HTML,
in generated pages and to anchors; so the finished pages are read again.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers both checks."""
    app.connect("html-page-context", _refuse_replaced_page)
    app.connect("build-finished", _check_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _refuse_replaced_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    if doctree is None and page in app.env.found_docs:
        raise ExtensionError(
            f"Sphinx replaces our page {page!r} by one of its own: rename {page}.md"
        )


class _Links(HTMLParser):
    """The targets and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("id", "name") and value:
                self.anchors.add(value)
            elif key in ("href", "src") and value:
                self.targets.append(value)


def _check_links(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    if broken := broken_links(Path(app.outdir)):
        raise ExtensionError("broken internal links:\n" + "\n".join(broken))


def broken_links(site: Path) -> list[str]:
    """Links between the pages of a site that lead nowhere, with the page they are on.

    Args:
        site: The folder with the HTML files.
    """
    root = site.resolve()

    pages = {path: _Links(path.read_text("utf-8")) for path in root.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            wanted = path.parent / unquote(parts.path) if parts.path else path
            wanted = wanted.resolve()
            anchor = unquote(parts.fragment)
            if not wanted.is_file() or (
                anchor and wanted in pages and anchor not in pages[wanted].anchors
            ):
                broken.append(f"{path.relative_to(root)}: {target}")
    return broken
