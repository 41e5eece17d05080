import numpy as np
import pytest

from lensequiv.evaluation import score
from lensequiv.plots import plot_confusion, plot_reliability, plot_roc
from lensequiv.plots._evaluation import wilson

CLASSES = ("no", "sphere", "vort")


@pytest.fixture(scope="module")
def evaluation():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    logits = rng.normal(size=(300, 3))
    logits[np.arange(300), labels] += 2
    return score(labels, logits=logits, classes=CLASSES, resamples=0)


def labels_of(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()]


def test_roc(evaluation, tmp_path):
    figure = plot_roc(evaluation, path=tmp_path / "roc.png")
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    left, right = figure.axes
    for panel in (left, right):
        lines = panel.lines[:4]
        for line, (x, y) in zip(lines, evaluation.roc.values(), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), x)
            np.testing.assert_array_equal(line.get_ydata(), y)
        # In black-and-white print they differ by their dashes.
        assert len({line.get_linestyle() for line in lines}) == 4
        assert panel.get_xlabel() == "false positive rate"
        assert panel.get_ylabel() == "true positive rate"
    assert labels_of(left) == [
        f"micro-average, AUC {evaluation.auc_micro:.4f}",
        *(f"{name}, AUC {evaluation.auc[name]:.4f}" for name in CLASSES),
        "chance",
    ]
    assert right.get_xscale() == "log"
    assert right.get_xlim() == pytest.approx((1 / 600, 1))


def test_confusion(evaluation):
    figure = plot_confusion({"a": evaluation, "b": evaluation})
    assert [panel.get_title("left") for panel in figure.axes] == ["a", "b"]
    panel = figure.axes[1]
    shares = evaluation.confusion / 100
    np.testing.assert_allclose(panel.images[0].get_array(), shares)
    texts = {t.get_position(): t.get_text() for t in panel.texts}
    for row in range(3):
        for column in range(3):
            count = evaluation.confusion[row, column]
            assert texts[column, row] == f"{count}\n{count:.1f} %"
    for axis in (panel.xaxis, panel.yaxis):
        assert [t.get_text() for t in axis.get_ticklabels()] == list(CLASSES)
    assert (panel.get_ylabel(), panel.get_xlabel()) == ("truth", "answer")


def test_reliability(evaluation):
    figure = plot_reliability({"a": evaluation, "b": evaluation})
    panel, below = figure.axes[:2]
    curve = evaluation.reliability
    line = panel.lines[1]
    np.testing.assert_array_equal(line.get_xdata(), curve.confidence)
    np.testing.assert_array_equal(line.get_ydata(), curve.accuracy)
    low, high = wilson(curve.accuracy, curve.images)
    ends = [segment[:, 1] for segment in panel.collections[0].get_segments()]
    np.testing.assert_allclose(ends, np.column_stack([low, high]), atol=1e-12)
    label = f"calibration error {evaluation.calibration_error:.4f}"
    assert set(labels_of(panel)) == {"perfect", label}
    assert [bar.get_height() for bar in below.patches] == curve.images.tolist()
    np.testing.assert_allclose([b.get_x() for b in below.patches], curve.index / 15)
    assert len(figure.axes) == 4


def test_wilson_against_published_values():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    share, n = np.array([81 / 263, 15 / 148, 0, 1 / 29]), np.array([263, 148, 20, 29])
    low, high = wilson(share, n)
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0, 0.0061], atol=6e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=6e-5)


def test_nothing_to_draw():
    for plot in (plot_roc, plot_confusion, plot_reliability):
        with pytest.raises(ValueError, match="evaluations is empty"):
            plot({})
