"""Training of a map on a frozen body: its targets, its calibration, and a short run."""

import math
import sys

import map_head
import map_targets as t
import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.evaluation.detection import true_convergence

SCALE = 0.05  # arcsec a pixel
QUICK = ["--steps", "6", "--evaluations", "2", "--batch-size", "24", "--device", "cpu"]
QUICK += ["--held-out", "48", "--norm-images", "24", "--smooth", "100"]


def test_targets_are_the_convergence_and_who_is_near():
    # x, y in pixels from the centre, squared Einstein radius in pixels^2.
    heavy, light = 2 * (t.EINSTEIN_RADIUS / SCALE) ** 2, 0.1
    masses = torch.tensor(
        [
            [[8.0, -12.0, heavy], [-20.0, 20.0, heavy], [0.0, 0.0, light]],
            [[0.0, 0.0, light], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        ]
    )
    wanted = t.targets(masses, 97, t.EINSTEIN_RADIUS / SCALE)
    assert wanted.y.shape == wanted.present.shape == (2, 25, 25)
    kappa = t.KNEE * torch.expm1(wanted.y)
    x, y, theta2 = masses[0].double().numpy().T
    expected = true_convergence(
        x * SCALE,
        y * SCALE,
        theta2 * SCALE**2,
        shape=(25, 25),
        cell=t.STRIDE * SCALE,
        smoothing=t.map_spec(SCALE, 0.04, 1e9).smoothing,
    )
    np.testing.assert_allclose(kappa[0].numpy(), expected, rtol=1e-3, atol=1e-6)
    # Column 12 + 8/4, row 12 - 12/4, and the four cells around, 4 pixels away.
    cross = [(9, 14), (8, 14), (10, 14), (9, 13), (9, 15)]
    cross += [(17, 7), (16, 7), (18, 7), (17, 6), (17, 8)]
    found = {tuple(place) for place in wanted.present[0].nonzero().tolist()}
    assert found == set(cross)
    assert not wanted.present[1].any()


def test_losses_are_least_for_the_truth():
    torch.manual_seed(0)
    x = torch.rand(2, 1, 97, 97)
    y, present = torch.rand(2, 25, 25) + 1, (torch.rand(2, 25, 25) < 0.1).float()
    wanted = t.Targets(y, present)

    def losses(middle, logit):
        width = torch.full_like(middle, -1.0)
        raw = torch.stack([middle, width, width, logit], 1)
        return [float(loss) for loss in t.map_losses(raw, wanted, x)]

    right = losses(y, 8 * (2 * present - 1))
    wrong = losses(y + 1, 8 * (1 - 2 * present))
    assert right[0] < wrong[0] and right[1] < 0.01 < wrong[1]


def test_calibration_mends_wrong_widths_and_logits():
    torch.manual_seed(0)
    n = 40_000
    y = 3 + torch.randn(n)
    truth = torch.rand(n)
    logit = torch.logit(truth.clamp(0.01, 0.99))
    # Widths half as large as they should be, logits twice as large and shifted.
    one = math.log(0.9945 / 2)  # the 84 % quantile of a normal distribution
    raw = torch.stack(
        [torch.full((n,), 3.0), torch.full((n,), one), torch.full((n,), one)], 1
    )
    raw = torch.cat([raw, (2 * logit + 1)[:, None]], 1)
    present = (torch.rand(n) < truth).float()
    found = t.Drawn(raw, y, present, torch.ones(n))
    model = lensequiv.create_model(
        "c4", stem_fields=2, stages=((2,), (2,)), map_fields=2
    )
    last = model.map_head.draw[-1]
    before = [last.weight.detach().clone(), last.bias.detach().clone()]
    t.calibrate_head(model.map_head, found)
    shift = last.bias - before[1]
    assert shift[1:3].tolist() == pytest.approx([math.log(2)] * 2, abs=0.06)
    assert torch.allclose(last.weight[3], before[0][3] / 2, rtol=0.1)
    mended = raw.clone()
    mended[:, 1:3] += shift[1:3].detach()
    mended[:, 3] = (raw[:, 3] - 1) / 2
    shares = t.shares(found._replace(raw=mended))
    assert shares == pytest.approx([0.16, 0.68, 0.16], abs=0.015)
    assert t.presence_error(found._replace(raw=mended)) < 0.02
    assert t.presence_error(found) > 0.05


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* are? unlike the training images")  # 1 % are
def test_a_short_run_makes_weights_whose_classes_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("fresh_lenses.CHUNK", (24, 24))
    argv = ["map_head.py", "c8-modelJ@2", "--seed", "3", "--out", str(tmp_path)]
    argv += ["--fields", "2", *QUICK]
    monkeypatch.setattr(sys, "argv", argv)
    map_head.main()
    model = lensequiv.from_pretrained(tmp_path / "weights")
    before = lensequiv.from_pretrained("c8-modelJ@2")
    images = lensequiv.data.sample_paths("modelJ")
    result = model.predict(images, maps=True)
    assert torch.equal(result.logits, before.predict(images).logits)
    assert result == result and len(result.maps) == len(images)
    assert 0 < model.map_spec.threshold(0.1) <= model.map_spec.threshold(0.01) < 1
    card = (tmp_path / "weights" / "README.md").read_text()
    assert "## Map of the substructure" in card and "c8-modelJ@2" in card


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* are? unlike the training images")
def test_everything_trained_for_a_recipe_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fresh_lenses.CHUNK", (24, 24))
    recipe = tmp_path / "mine.json"
    recipe.write_text(
        """{"base": "modelJ", "name": "mine", "substructure": {
        "smooth": {"type": "NoSubstructure"},
        "clumpy": {"type": "Subhalos", "number": 2, "mass": [1e9, 1e10]}}}"""
    )
    argv = ["map_head.py", "c4-modelJ@2", "--whole", "--fresh", str(recipe)]
    argv += ["--out", str(tmp_path / "run"), "--einstein-radius", "0.06", *QUICK]
    argv += ["--held-out", "240"]
    monkeypatch.setattr(sys, "argv", [*argv, "--no-finish"])
    map_head.main()
    assert not (tmp_path / "run" / "weights").exists()
    monkeypatch.setattr(sys, "argv", argv)
    map_head.main()
    assert "resuming" in capsys.readouterr().out
    model = lensequiv.from_pretrained(tmp_path / "run" / "weights")
    assert model.classes == ("smooth", "clumpy") and model.domain is not None
    assert model.map_spec.einstein_radius == 0.06
    assert model.map_spec.smoothing == pytest.approx(0.2)
    told = model.weights_info
    assert told["training"]["started_from"] == "c4-modelJ@2"
    assert told["map_training"]["recipes"] == ["mine"]
    assert told["trained_on"]["recipe"] == "mine"
    assert len(told["map_training"]["validation"]) == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["c8-modelJ@2", "--fresh", "euclid"], "expected --whole"),
        (["c8-modelJ@2", "--fresh", "modelJ,deeplensesim2"], "one and the same pixel"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, monkeypatch, argv, message):
    argv = ["map_head.py", *argv, "--out", str(tmp_path), *QUICK]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(ValueError, match=message):
        map_head.main()
