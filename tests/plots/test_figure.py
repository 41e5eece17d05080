"""Figures show themselves in notebooks, without a magic."""

import numpy as np
import pytest

from lensequiv.evaluation import score
from lensequiv.plots import check_picture, plot_confusion
from lensequiv.plots._style import figure_class


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
