import math
import sys

import numpy as np
import pytest
import torch

from lensequiv import ImagePrediction, Prediction
from lensequiv.inference._columns import column_names

CLASSES = ("no", "sphere", "vort")


def made(n=4, *, paths=True, scores=True, seed=0, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, len(classes), generator=generator)
    return Prediction(
        probabilities=logits.softmax(1),
        logits=logits,
        labels=[classes[i] for i in logits.argmax(1).tolist()],
        paths=[f"in/{i}.npy" for i in range(n)] if paths else None,
        classes=classes,
        notes=[
            ["edge 2 (training 0 to 1)", "noise 3"] if i == 1 else [] for i in range(n)
        ],
        ood_score=torch.rand(n, generator=generator) if scores else None,
    )


def test_an_index_gives_one_image():
    result = made()
    one = result[1]
    assert isinstance(one, ImagePrediction)
    assert one.label == result.labels[1] and one.path == "in/1.npy"
    assert torch.equal(one.probabilities, result.probabilities[1])
    assert torch.equal(one.logits, result.logits[1])
    assert one.notes == ["edge 2 (training 0 to 1)", "noise 3"]
    assert one.unlike_training is True and result[0].unlike_training is False
    assert one.ood_score == float(result.ood_score[1])
    assert one.probability == float(result.probabilities[1].max())
    assert result[-3] == one and result[np.int64(1)] == one
    assert result[torch.tensor(1)] == one
    arrays = made(paths=False, scores=False)[0]
    assert arrays.path is None and arrays.ood_score is None


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([2, 0, -1], [2, 0, 3]),
        (np.array([3, 3]), [3, 3]),
        (torch.tensor([0, 2]), [0, 2]),
        ([True, False, False, True], [0, 3]),
        (np.array([False, True, True, False]), [1, 2]),
        (torch.tensor([False, False, True, False]), [2]),
        ([], []),
        ([False] * 4, []),
    ],
)
def test_slices_masks_and_lists_give_predictions(index, expected):
    result = made()
    part = result[index]
    assert isinstance(part, Prediction) and len(part) == len(expected)
    assert list(part) == [result[i] for i in expected]
    assert part.paths == [f"in/{i}.npy" for i in expected]
    assert part.probabilities.shape == (len(expected), 3)
    assert part.ood_score.shape == (len(expected),)


def test_flagged_images_by_their_mask():
    result = made()
    assert result[result.unlike_training].paths == ["in/1.npy"]
    assert result[~result.unlike_training].paths == ["in/0.npy", "in/2.npy", "in/3.npy"]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (4, IndexError, "index 4 is out of range for 4 images"),
        (-5, IndexError, "index -5 is out of range"),
        ([0, 9], IndexError, "index 9 is out of range"),
        ([True, False], IndexError, r"a mask of shape \(2,\) for 4 images"),
        ("0", TypeError, "index '0': expected an integer, a slice, a mask"),
        (1.0, TypeError, "index 1.0"),
        ((0, 1), TypeError, "expected an integer"),
        (None, TypeError, "index None"),
    ],
)
def test_a_wrong_index_is_named(index, error, message):
    with pytest.raises(error, match=message):
        made()[index]


def test_iteration_ends():
    result = made(3)
    assert [one.path for one in result] == ["in/0.npy", "in/1.npy", "in/2.npy"]


def test_equality_is_a_bool():
    assert (made() == made()) is True and (made() != made()) is False
    assert hash(made()) == hash(made()) and len({made(), made()}) == 1
    changed = [
        made(seed=1),
        made(3),
        made(paths=False),
        made(scores=False),
        made(classes=("no", "sphere", "axion")),
    ]
    for other in changed:
        assert (made() == other) is False and (made() != other) is True
    flagged = made()
    flagged.notes[2].append("centre 1")
    assert made() != flagged
    nearly = made()
    nearly.logits[0, 0] = torch.nextafter(nearly.logits[0, 0], torch.tensor(9.0))
    assert made() != nearly
    assert (made() == "something") is False
    assert made()[0] == made()[0] != made()[1]
    assert hash(made()[0]) == hash(made()[0])


def test_repr_is_short():
    result = Prediction(
        probabilities=torch.eye(3).repeat(4, 1),
        logits=torch.eye(3).repeat(4, 1),
        labels=["no"] * 5 + ["sphere"] * 4 + ["vort"] * 3,
        paths=None,
        classes=CLASSES,
        notes=[["x"]] + [[]] * 11,
    )
    assert repr(result) == (
        "Prediction(12 images: 5 no, 4 sphere, 3 vort; 1 unlike training)"
    )
    assert repr(result[5:6]) == "Prediction(1 image: 1 sphere)"
    assert repr(result[[]]) == "Prediction(0 images)"
    many = tuple(f"class{i}" for i in range(1000))
    large = Prediction(
        torch.ones(1000, 1), torch.ones(1000, 1), list(many), None, many, [[]] * 1000
    )
    assert len(repr(large)) < 120 and "994 more classes" in repr(large)
    assert repr(made()[1]).startswith("ImagePrediction(in/1.npy: ")
    assert repr(made()[1]).endswith("; unlike training)")


def test_html_is_escaped_and_bounded():
    result = made(30, classes=("<no>", "sphere", "vort"))
    result.paths[0] = "in/<script>.npy"
    page = result._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<no>" not in page and "&lt;no&gt;" in page
    assert page.count("<tr>") == 21 and "and 10 more" in page
    assert "edge 2 (training 0 to 1); noise 3" in page
    assert "in/1.npy" in result[1]._repr_html_()


def test_pandas_keeps_every_value():
    result = made()
    result.ood_score[2] = math.inf
    frame = result.to_pandas()
    assert list(frame.columns) == column_names(CLASSES)
    for i, name in enumerate(CLASSES):
        assert frame[name].dtype == np.float32
        assert np.array_equal(frame[name].to_numpy(), result.probabilities[:, i])
    assert np.array_equal(frame["ood_score"].to_numpy(), result.ood_score)
    assert frame["path"].tolist() == result.paths
    assert frame["label"].tolist() == result.labels
    assert frame["unlike_training"].tolist() == [False, True, False, False]
    assert frame["notes"].tolist()[1] == "edge 2 (training 0 to 1); noise 3"
    assert frame["error"].tolist() == [None] * 4
    bare = made(paths=False, scores=False).to_pandas()
    assert bare["path"].tolist() == [None] * 4 and bare["ood_score"].isna().all()
    assert len(made()[[]].to_pandas()) == 0
    frame.loc[0, "no"] = 7  # a copy: the prediction stays
    assert float(result.probabilities[0, 0]) <= 1


def test_table_keeps_every_value(tmp_path):
    result = made()
    table = result.to_table()
    assert table.colnames == column_names(CLASSES)
    for i, name in enumerate(CLASSES):
        assert table[name].dtype == np.float32
        assert np.array_equal(np.asarray(table[name]), result.probabilities[:, i])
    assert table["path"].tolist() == result.paths
    assert table["error"].mask.all() and not table["ood_score"].mask.any()
    assert made(scores=False).to_table()["ood_score"].mask.all()
    from astropy.table import QTable

    for name in ("r.ecsv", "r.fits"):
        table.write(tmp_path / name)
        back = QTable.read(tmp_path / name)
        assert np.array_equal(np.asarray(back["vort"]), result.probabilities[:, 2])
        assert [str(v) for v in back["label"]] == result.labels
    assert len(made()[[]].to_table()) == 0


@pytest.mark.parametrize(
    ("method", "package"), [("to_pandas", "pandas"), ("to_table", "astropy.table")]
)
def test_a_missing_package_is_named(monkeypatch, method, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{method} needs {package.split('.')[0]}"):
        getattr(made(), method)()


def test_classes_called_like_columns_stay_visible():
    frame = made(classes=("error", "label", "x")).to_pandas()
    assert list(frame.columns)[:5] == ["path", "label", "p(error)", "p(label)", "x"]
    assert frame["error"].tolist() == [None] * 4


def test_concatenation():
    whole = made(5)
    assert Prediction.concatenate([whole[:2], whole[2:2], whole[2:]]) == whole
    bare = made(5, paths=False, scores=False)
    assert Prediction.concatenate([bare[:1], bare[1:]]) == bare
    with pytest.raises(ValueError, match="parts is empty"):
        Prediction.concatenate([])
    with pytest.raises(ValueError, match="some predictions have paths"):
        Prediction.concatenate([made(), made(paths=False)])
    with pytest.raises(ValueError, match="some predictions have ood_score"):
        Prediction.concatenate([made(), made(scores=False)])
    with pytest.raises(ValueError, match="axion"):
        Prediction.concatenate([made(), made(classes=("no", "sphere", "axion"))])
