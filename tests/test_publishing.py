"""What strangers see: README, package metadata, citation, recipe, pages."""

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import lensequiv

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
URLS = PROJECT["urls"]
README = (ROOT / "README.md").read_text()
# Files that repeat the addresses of `project.urls`; RELEASING.md names them.
REPEATED = (
    "CITATION.cff",
    ".zenodo.json",
    ".conda/recipe.yaml",
    ".github/ISSUE_TEMPLATE/config.yml",
)


def load(path):
    """A script as a module, without being part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_the_readme_exist():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_the_long_description_has_absolute_links_alone():
    text = load(ROOT / "setup.py").long_description()
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) == len(re.findall(r"\]\(([^)]+)\)", README))
    assert all(target.startswith("https://") for target in targets)
    tag = f"v{lensequiv.__version__}"
    raw = URLS["Source"].replace("github.com", "raw.githubusercontent.com")
    assert f"({raw}/{tag}/docs/images/hero.png)" in text
    assert f"]({URLS['Source']}/blob/{tag}/docs/weights.md)" in text
    assert f"](https://img.shields.io/badge/licence-MIT-blue)]({URLS['Source']}" in text


def test_addresses_are_those_of_the_project():
    places = tuple(
        url.removesuffix("/blob/main/CHANGELOG.md").removesuffix("/issues")
        for url in URLS.values()
    )
    for name in REPEATED:
        text = (ROOT / name).read_text()
        found = re.findall(r"https?://[^\s\"']*lensequiv[^\s\"']*", text)
        found = [url for url in found if "pypi.org" not in url]
        assert found, name
        assert all(url.startswith(places) for url in found), name


def test_version_and_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    recipe = yaml.safe_load((ROOT / ".conda" / "recipe.yaml").read_text())
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    versions = {citation["version"], recipe["context"]["version"]}
    assert versions == {lensequiv.__version__}
    licences = {citation["license"], recipe["about"]["license"], zenodo["license"]}
    assert licences == {PROJECT["license"]}
    assert citation["title"] == zenodo["title"]


def test_the_conda_recipe_asks_for_what_the_package_does():
    recipe = yaml.safe_load((ROOT / ".conda" / "recipe.yaml").read_text())
    asked = {requirement.replace(" ", "") for requirement in PROJECT["dependencies"]}
    named = {
        "".join(requirement.split()).replace("pytorch>", "torch>")
        for requirement in recipe["requirements"]["run"]
        if not requirement.startswith("python ")
    }
    assert named == asked
    assert recipe["context"]["python_min"] == PROJECT["requires-python"].strip(">=")


def test_every_extra_is_in_the_install_page():
    text = (ROOT / "docs" / "install.md").read_text()
    rows = re.findall(r"(?m)^\| ((?:`\w+`(?:, )?)+) \|", text)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    assert named == set(PROJECT["optional-dependencies"])


def test_every_version_of_a_weight_has_a_page(tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "gone.md").touch()
    load(ROOT / "docs" / "weight_pages.py").write(tmp_path / "tables", pages)
    names = {path.stem for path in pages.iterdir()}
    assert {*lensequiv.list_pretrained(), "c8-modelJ-version-1"} <= names
    assert "gone" not in names
    newest = (pages / "c8-modelJ.md").read_text()
    scores = lensequiv.pretrained_info("c8-modelJ")["info"]["metrics"]["test"]
    assert newest.startswith("# c8-modelJ\n") and "library_name" not in newest
    assert f"| accuracy | {scores['accuracy']:.4f} |" in newest
    first = (pages / "c8-modelJ-version-1.md").read_text()
    assert "newer version replaces it: [`c8-modelJ`](c8-modelJ.md)" in first
    table = (tmp_path / "tables" / "weights.md").read_text()
    assert "| [`c8-modelJ`](weights/c8-modelJ.md) |" in table


@pytest.fixture
def checks(monkeypatch):
    pytest.importorskip("myst_parser")  # of the extra `docs`
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield load(ROOT / "docs" / "page_checks.py")
    sys.modules.pop("page_checks", None)


def build(tmp_path, **pages):
    """Builds a small site with the checks of the real one."""
    from sphinx.application import Sphinx

    source = tmp_path / "source"
    source.mkdir()
    settings = 'extensions = ["myst_parser", "page_checks"]\nhtml_theme = "basic"\n'
    (source / "conf.py").write_text(settings)
    for name, text in pages.items():
        (source / f"{name}.md").write_text(text)
    folders = [str(source), str(source), str(tmp_path / "out"), str(tmp_path / "trees")]
    Sphinx(*folders, "html", status=None, warning=None).build()


@pytest.mark.slow
def test_a_page_that_sphinx_would_replace_is_refused(tmp_path, checks):
    from sphinx.errors import ExtensionError

    with pytest.raises(ExtensionError, match=r"rename search\.md"):
        build(tmp_path, index="# A\n\n[x](search.md)\n", search="# B\n")


@pytest.mark.slow
def test_broken_links_in_raw_html_and_to_anchors_are_found(tmp_path, checks):
    from sphinx.errors import ExtensionError

    build(tmp_path, index='# A\n\n<a href="other.html#b">b</a>\n', other="# B\n")
    broken = '# A\n\n<a href="other.html#c">b</a> <img src="no.png">\n'
    second = tmp_path / "second"
    second.mkdir()
    with pytest.raises(ExtensionError, match=r"(?s)other\.html#c.*no\.png"):
        build(second, index=broken, other="# B\n")
