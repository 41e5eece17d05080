"""Writes a page for every bundled weight, from its card, before the pages are read.

The pages are made anew by each build and are not kept under version control.
"""

from __future__ import annotations

import re
from pathlib import Path

from lensequiv.pretrained import list_pretrained, model_card, pretrained_info
from lensequiv.weights._catalogue import Release, releases
from lensequiv.weights._table import weights_table

PAGE = """\
# {title}

{version}

```{{admonition}} Load it
:class: tip

`lensequiv.from_pretrained("{name}")`
```

{card}
"""


def write(tables: Path, pages: Path) -> None:
    """Writes the table of weights and a page for each version of each weight.

    Args:
        tables: Folder for `weights.md`, a table for other pages to include.
        pages: Folder for the pages; pages of weights that are gone are removed.
    """
    tables.mkdir(exist_ok=True)
    pages.mkdir(exist_ok=True)
    configs = {name: pretrained_info(name) for name in list_pretrained()}
    table = re.sub(
        r"(?m)^\| `([^`]+)`", r"| [`\1`](weights/\1.md)", weights_table(configs)
    )
    (tables / "weights.md").write_text(table + "\n")
    made = {
        _write_page(pages, release, newest=release is versions[-1])
        for versions in map(releases, list_pretrained())
        for release in versions
        if release.folder is not None
    }
    for page in set(pages.glob("*.md")) - made:
        page.unlink()


def _write_page(pages: Path, release: Release, *, newest: bool) -> Path:
    full = f"{release.name}@{release.version}"
    name = release.name if newest else full
    card = model_card(pretrained_info(full), name)
    # Without the front matter for the Hub; the heading is the page's own.
    body = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    body = re.sub(r"\A\s*# .*\n", "", body)
    version = f"Version {release.version} of {release.date}: {release.changes}."
    if not newest:
        version += (
            f" A newer version replaces it: [`{release.name}`]({release.name}.md)."
        )
    page = pages / f"{name.replace('@', '-version-')}.md"
    page.write_text(PAGE.format(title=name, version=version, name=name, card=body))
    return page
