import numpy as np
import pytest

import lensequiv
from lensequiv.plots import plot_training


def test_continued_run():
    once = lensequiv.pretrained_info("c8-modelJ@1")["info"]["training"]
    training = once | {"before": once}
    total = once["images_seen"] / 1000
    figure = plot_training({"training": training})
    auc, accuracy = figure.axes
    names = ["micro-average", "no", "sphere", "vort"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == names

    first, second = training["before"]["validation"], training["validation"]
    seen = [total * h["step"] / first[-1]["step"] for h in first]
    later = [total + s for s in seen]
    lines = auc.lines
    np.testing.assert_allclose(lines[0].get_xdata(), seen)
    assert list(lines[0].get_ydata()) == [h["auc_micro"] for h in first]
    assert list(lines[2].get_ydata()) == [h["auc"]["sphere"] for h in first]
    np.testing.assert_allclose(lines[4].get_xdata(), later)
    assert list(lines[7].get_ydata()) == [h["auc"]["vort"] for h in second]
    assert list(lines[8].get_xdata()) == [total, total]
    assert list(accuracy.lines[1].get_ydata()) == [h["accuracy"] for h in second]
    assert len({line.get_linestyle() for line in lines[:4]}) == 4
    assert auc.get_yscale() == "logit"
    assert [t.get_text() for t in auc.texts] == ["run 1", "run 2"]
    assert auc.get_xlabel() == "training images seen / 1000"
    low, high = auc.get_ylim()
    values = [h["auc"][c] for h in [*first, *second] for c in names[1:]]
    assert low < min(values) and max(values) < high < 1
    for tick, label in zip(auc.get_yticks(), auc.get_yticklabels(), strict=True):
        assert float(label.get_text()) == tick


@pytest.mark.slow
def test_single_run_and_certain_values(tmp_path):
    history = [
        {"step": s, "auc_micro": a, "auc": {"a": a, "b": a}, "accuracy": a}
        for s, a in ((10, 0.5), (20, 1.0))
    ]
    info = {"training": {"images_seen": 640, "validation": history}}
    figure = plot_training(info, path=tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [0.32, 0.64])
    assert not figure.axes[0].texts


@pytest.mark.parametrize("info", [{}, {"training": {"validation": []}}])
def test_no_history(info):
    with pytest.raises(ValueError, match="no training history"):
        plot_training(info)
