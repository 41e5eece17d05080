"""Sphinx configuration: `python -m sphinx -W docs docs/_build/html`."""

import os
import sys
import tomllib
from pathlib import Path

import lensequiv

_here = Path(__file__).parent
sys.path.insert(0, str(_here))
import floors  # noqa: E402  # beside this file
import weight_pages  # noqa: E402

_urls = tomllib.loads((_here.parent / "pyproject.toml").read_text())["project"]["urls"]

project = "lensequiv"
author = "The lensequiv developers"
copyright = f"2026, {author}"
version = release = lensequiv.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "page_checks",  # beside this file
]
exclude_patterns = ["_build", "_generated"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = "lensequiv"
html_baseurl = _urls["Documentation"].rstrip("/") + "/"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/favicon.svg"
html_theme_options = {
    "source_repository": _urls["Source"] + "/",
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {
        "color-brand-primary": "#0a5c8f",
        "color-brand-content": "#0a5c8f",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc4f0",
        "color-brand-content": "#7cc4f0",
    },
}

default_role = "code"  # in docstrings, `x` is code
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
# A word that several classes have as an attribute is taken for a type of theirs.
suppress_warnings = ["ref.python"]
nitpicky = False  # types of torch and NumPy have no pages here

myst_enable_extensions = ["attrs_block", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_substitutions = {"source": _urls["Source"]}
# Progress bars need widgets, which pages do not have.
os.environ["TQDM_DISABLE"] = "1"
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True  # one box for what a cell prints

weight_pages.write(_here / "_generated", _here / "weights")
floors.write(_here / "_generated" / "floors.svg")
