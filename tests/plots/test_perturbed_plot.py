import pytest

from lensequiv.evaluation import Perturbed
from lensequiv.plots import plot_perturbations


def rows(*accuracies):
    names = ("none", "sky x 1.5", "lens light")
    return [
        Perturbed(name, 12, accuracy, accuracy / 2, 1 - accuracy, {})
        for name, accuracy in zip(names, accuracies, strict=False)
    ]


@pytest.mark.slow
def test_a_line_for_each_change_and_a_mark_for_each_weight(tmp_path):
    results = {"a": rows(1.0, 0.5, 0.25), "b": rows(0.75, 0.5, 0.5)}
    figure = plot_perturbations(results, path=tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    accuracy, auc, flagged = figure.axes
    assert [t.get_text() for t in accuracy.get_yticklabels()] == [
        "none",
        "sky x 1.5",
        "lens light",
    ]
    assert [list(line.get_xdata()) for line in accuracy.lines] == [
        [1.0, 0.5, 0.25],
        [0.75, 0.5, 0.5],
    ]
    assert list(auc.lines[0].get_xdata()) == [0.5, 0.25, 0.125]
    assert list(flagged.lines[1].get_xdata()) == [0.25, 0.5, 0.5]
    assert accuracy.yaxis_inverted()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b"]
    assert not plot_perturbations(results["a"]).legends


@pytest.mark.parametrize(
    "results", [[], {}, {"a": rows(1.0, 0.5), "b": rows(1.0)}], ids=str
)
def test_other_changes_are_refused(results):
    with pytest.raises(ValueError, match="expected the same changes for all"):
        plot_perturbations(results)
