"""Sphinx configuration: `python -m sphinx -W docs docs/_build/html`."""

import sys
from pathlib import Path

import lensequiv
from lensequiv.pretrained import list_pretrained, pretrained_info
from lensequiv.weights._table import weights_table

project = "lensequiv"
author = "The lensequiv developers"
copyright = f"2026, {author}"
version = release = lensequiv.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_generated"]
html_theme = "furo"
html_title = "lensequiv"
html_static_path = ["_static"]
html_css_files = ["custom.css"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
nitpicky = False  # types of torch and NumPy have no pages here

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300


def _write_tables(folder: Path) -> None:
    """Tables of weights, from the catalogue, for pages to include."""
    folder.mkdir(exist_ok=True)
    configs = {name: pretrained_info(name) for name in list_pretrained()}
    (folder / "weights.md").write_text(weights_table(configs) + "\n")


_here = Path(__file__).parent
sys.path.insert(0, str(_here))
import floors  # noqa: E402  # beside this file

_write_tables(_here / "_generated")
floors.write(_here / "_generated" / "floors.svg")
