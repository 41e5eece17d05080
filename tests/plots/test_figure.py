"""Figures show themselves in notebooks, without a magic."""

import numpy as np
import pytest

from lensequiv.evaluation import score
from lensequiv.plots import check_picture, for_paper, plot_confusion
from lensequiv.plots._style import figure_class


@pytest.mark.slow
def test_a_notebook_shows_the_figure_as_a_picture():
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    figure = plot_confusion(
        score(np.arange(9) % 3, logits=np.random.randn(9, 3), resamples=0)  # noqa: NPY002
    )
    shell = interactive.InteractiveShell()
    data, _ = shell.display_formatter.format(figure)
    assert data["image/png"].startswith(b"\x89PNG")


def test_a_figure_is_matplotlibs():
    from matplotlib.figure import Figure

    assert issubclass(figure_class(), Figure)


def test_pictures_are_checked_before_the_work(tmp_path):
    assert check_picture(tmp_path / "a.PNG") == tmp_path / "a.PNG"
    assert check_picture(tmp_path / "a.gif", [".gif"]) == tmp_path / "a.gif"
    for name, error, message in (
        ("a.docx", ValueError, r"ends in '\.docx'; expected one of .*\.png"),
        ("a", ValueError, "has no ending"),
        ("no/a.png", FileNotFoundError, "no does not exist"),
    ):
        with pytest.raises(error, match=message):
            check_picture(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "millimetres"), [(1, 88), (2, 180)])
def test_one_column_or_two(tmp_path, columns, millimetres):
    figure = plot_confusion(score(np.arange(9) % 3, logits=np.eye(9, 3), resamples=0))
    before = figure.get_size_inches()
    for_paper(figure, columns, path=tmp_path / "a.png")
    width, height = figure.get_size_inches()
    assert width * 25.4 == pytest.approx(millimetres, abs=0.2)
    assert height / width == pytest.approx(before[1] / before[0])
    from PIL import Image

    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == pytest.approx(300 * width, abs=1)
    for_paper(figure, columns, path=tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert content.startswith(b"%PDF") and b"/Type3" not in content


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match="columns=3: expected 1 or 2"):
        for_paper(figure_class()(), 3)
