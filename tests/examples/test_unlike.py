"""What is no lens: made from any recipe, mixed among the lenses, told from them."""

import json
import math

import finish
import fresh_lenses
import pytest
import torch
from finish import images_to_calibrate, images_unlike, recorded_recipes
from options import arguments
from sets import Sets, SimulatedSet
from train import Training, accelerator_of
from unlike import (
    NO_LENS,
    unlike_loss,
    which_can_be_scaled,
    without_lens,
    without_source,
)

import lensequiv
from lensequiv.simulation import RECIPES, get_recipe, load_recipe, simulate
from lensequiv.transforms import CropAndScale


def test_without_a_source_nothing_but_the_sky_is_left():
    empty = simulate(without_source(get_recipe("modelJ")), 3, seed=1, noise=False)
    assert empty.images.unique().tolist() == [10.0]
    assert empty.classes == ("no", "sphere", "vort")


def test_without_a_source_the_galaxy_in_front_stays():
    field = simulate(without_source(get_recipe("hst")), 6, seed=1, noise=False).images
    whole = simulate("hst", 6, seed=1, noise=False).images
    light = field[:, 70:80, 70:80].mean((1, 2)) - field[:, :5, :5].mean((1, 2))
    # In half of the lenses it is subtracted, and leaves residuals of either sign.
    assert (light > 1).sum() >= 2
    assert (whole - field).abs().amax((1, 2)).min() > 1


@pytest.mark.parametrize("name", ["modelJ", "hst", "wide"])
def test_without_a_lens_the_source_is_one_spot(name):
    recipe = without_lens(get_recipe(name))
    seen = simulate(recipe, 12, seed=2, noise=False)
    assert all((seen.parameters[key] == 0).all() for key in ("shear", "mass_theta2"))
    assert seen.parameters["theta_e"].max() < 3e-3
    image = seen.images - seen.images.amin((1, 2), keepdim=True)
    bright = (image > image.amax((1, 2), keepdim=True) / 2).float()
    y, x = torch.meshgrid(torch.arange(150.0), torch.arange(150.0), indexing="ij")
    weight = bright.sum((1, 2))
    centre = [(bright * at).sum((1, 2)) / weight for at in (y, x)]
    away = torch.hypot(centre[0] - 74.5, centre[1] - 74.5) / 75
    assert away.median() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("without", [without_source, without_lens])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_do_without(name, without):
    recipe = without(get_recipe(name))
    assert simulate(recipe, 3, seed=1).images.isfinite().all()
    assert recipe.name == f"{name}-{without.__name__.replace('_', '-')}"
    assert recipe.classes == get_recipe(name).classes


def test_the_loss_tells_lenses_by_the_sum_of_their_exponentiated_logits():
    labels = torch.tensor([0, 2, NO_LENS, NO_LENS])
    nothing = torch.zeros(4, 3)
    assert unlike_loss(nothing, labels) == pytest.approx(math.log(2))
    right = torch.tensor([[9.0, 0, 0], [9, 9, 9], [-9, -9, -9], [-9, -20, -9]])
    assert unlike_loss(right, labels) < 1e-3
    assert unlike_loss(-right, labels) > 5


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(fresh_lenses, "CHUNK", (96, 96))

    def fresh(*recipes, batch_size=24, **options):
        source = fresh_lenses.FreshLenses(recipes, batch_size, resampled=0, **options)
        source.open(49, torch.device("cpu"), CropAndScale(49))
        return source

    return fresh


@pytest.mark.slow
@pytest.mark.parametrize("recipes", [["modelJ"], ["modelF", "modelJ"]])
def test_a_share_of_the_images_is_no_lens(fresh, recipes):
    source = fresh(*recipes, seed=4, unlike=0.34, matched=True)
    batches = [source.batch(step) for step in range(source.each)]
    labels = torch.cat([batch.labels for batch in batches])
    none = labels == NO_LENS
    assert none.float().mean() == pytest.approx(1 / 3)
    masses = torch.cat([batch.masses[..., 2].sum(1) for batch in batches])
    assert (masses[none] == 0).all() and (masses[labels == 2] > 0).all()
    # The images of a lens still stand together.
    sets = labels.view(-1, 3).sort(1).values
    assert {tuple(row) for row in sets.tolist()} == {(0, 1, 2), (-1, -1, -1)}
    assert all((batch.labels >= 0).any() for batch in batches)
    later = fresh(*recipes, seed=4, unlike=0.34, matched=True)
    for step in (source.each - 1, source.each):
        mine, other = source.batch(step), later.batch(step)
        assert torch.equal(mine.images, other.images)
    assert source.describe()["unlike"] == 0.34
    assert "unlike" not in fresh(*recipes, seed=4).describe()


@pytest.mark.slow
def test_processes_share_what_is_no_lens(fresh):
    one = fresh("modelJ", seed=4, unlike=0.34)
    two = [
        fresh("modelJ", seed=4, unlike=0.34, batch_size=12, rank=rank, world=2)
        for rank in range(2)
    ]
    for step in (0, 3):
        parts = [source.batch(step) for source in two]
        for name in ("images", "labels", "masses"):
            halves = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(getattr(one.batch(step), name), halves)


@pytest.mark.slow
def test_nothing_to_scale(fresh):
    with pytest.raises(ValueError, match="--unlike: 'deeplensesim2-without-source'"):
        fresh("deeplensesim2", seed=4, unlike=0.3).batch(0)


@pytest.mark.slow
def test_training_learns_what_is_no_lens(tmp_path, monkeypatch):
    monkeypatch.setattr("fresh_lenses.CHUNK", (96, 96))
    monkeypatch.setattr("start.VALIDATION", 24)
    argv = ["c4", "--fresh", "modelJ", "--out", str(tmp_path), "--seed", "3"]
    argv += ["--size", "49", "--batch-size", "24", "--steps", "30", "--no-test"]
    argv += ["--unlike", "0.34", "--precision", "fp32", "--lr", "0.01"]
    argv += ["--norm-images", "240", "--evaluations", "1", "--resampled", "0"]
    args = arguments(argv)
    training = Training(args, accelerator_of(args))
    training.run()
    best = lensequiv.from_pretrained(tmp_path / "best")
    images = images_unlike(best, ["modelJ"], 96)
    lenses = SimulatedSet("modelJ", 96, 5, torch.device("cpu")).load_arrays()
    with torch.inference_mode():
        told = [best(best.preprocess(x)).logsumexp(1) for x in (lenses, images)]
    right = (told[0][:, None] > told[1]).float().mean()
    assert right > 0.9  # ROC AUC


def test_calibration_knows_all_recipes_of_a_run(tmp_path):
    """Recipes of one's own, which have no name in the package, too."""
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"base": "modelJ", "name": "mine", "pixels": 64}))
    model = lensequiv.create_model("c4")
    model.set_input_size(49)
    val = SimulatedSet("modelF", 48, 1, torch.device("cpu"))
    sets = Sets(None, val, None, val.classes)
    recipes = ["modelF", str(mine), load_recipe("modelF"), str(mine)]
    images, labels = images_to_calibrate(model, sets, recipes)
    assert images.shape == (96, 1, 49, 49) and len(labels) == 96
    alone, _ = images_to_calibrate(model, sets, recipes[:1])
    assert alone is val.load_arrays()
    unlike = images_unlike(model, recipes, 96)
    assert unlike.shape == (96, 1, 49, 49)
    assert which_can_be_scaled(model.preprocess, unlike) == list(range(96))
    unlike[3] = 7.0
    others = [i for i in range(96) if i != 3]
    assert which_can_be_scaled(model.preprocess, unlike) == others


def test_finishing_asks_for_recipes_that_it_does_not_know(
    tmp_path, monkeypatch, capsys
):
    info = {"trained_on": {"recipe": "mine", "train": {"recipes": ["mine", "modelJ"]}}}
    assert recorded_recipes(info) == ["mine", "modelJ"]
    for train, wanted in (({}, []), ({"unlike": 0.2}, ["mine"])):
        told = {"trained_on": {"recipe": "mine", "train": train}}
        assert recorded_recipes(told) == wanted
    assert recorded_recipes({"trained_on": {"train": {}}}) == []
    model = lensequiv.create_model("c4")
    model.save_pretrained(tmp_path / "best", info=info)
    monkeypatch.setattr(finish, "open_sets", lambda *_, **__: None)
    monkeypatch.setattr("sys.argv", ["finish.py", str(tmp_path), "--data", "unused"])
    with pytest.raises(SystemExit):
        finish.main()
    assert "--fresh tells the recipes" in capsys.readouterr().err
