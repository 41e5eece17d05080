"""Recipes made easier, to begin a training with."""

import math

import pytest
from curriculum import eased
from options import arguments
from start import training_images

from lensequiv.simulation import RECIPES, get_recipe, simulate


@pytest.mark.parametrize("name", RECIPES)
def test_ease_0_is_the_recipe_itself(name):
    recipe = get_recipe(name)
    assert eased(recipe, 0) is recipe


@pytest.mark.slow
@pytest.mark.parametrize("ease", [0.4, 1])
@pytest.mark.parametrize("name", RECIPES)
def test_any_recipe_can_be_eased(name, ease):
    recipe = get_recipe(name)
    easier = eased(recipe, ease)
    assert easier.name == f"{name}-eased-{ease}"  # what it was trained on, on the card
    assert easier.classes == recipe.classes
    assert easier.substructure == recipe.substructure
    assert (easier.pixel_scale, easier.blur) == (recipe.pixel_scale, recipe.blur)
    assert simulate(easier, 3, seed=1).images.shape[0] == 3


def test_scenes_shrink_to_their_middle():
    recipe = get_recipe("euclid")
    half, easiest = eased(recipe, 0.5), eased(recipe, 1)
    assert recipe.einstein_radius == (0.5, 2.2)
    assert half.einstein_radius == pytest.approx((0.925, 1.775))
    assert easiest.einstein_radius == pytest.approx((1.35, 1.35))
    low, high = half.spread["effective_radius"]
    assert (low, high) == pytest.approx((math.sqrt(0.45), math.sqrt(2.2)))
    assert half.deflector.fourth == pytest.approx((0, 0.0075))
    assert easiest.deflector.slope == pytest.approx((2.075, 2.075))
    light, neighbours, clumps, galaxies = half.lights
    assert light.share == 1 and light.angle_scatter == 3
    assert (neighbours.galaxies, neighbours.stars) == (2, 0.15)
    assert (clumps.share, galaxies.share) == (0.15, 0.3)
    assert half.noise.exposure == pytest.approx((16980, 22640))  # ten times as long
    assert half.noise.sky_brightness == recipe.noise.sky_brightness


@pytest.mark.parametrize("ease", [-0.1, 1.1, math.nan])
def test_impossible_ease(ease):
    with pytest.raises(ValueError, match=f"ease={ease}: expected from 0 to 1"):
        eased(get_recipe("hst"), ease)


def test_training_takes_it():
    class One:
        num_processes, process_index = 1, 0

    args = ["d8", "--fresh", "euclid,hst", "--out", "unused", "--batch-size", "8"]
    lenses = training_images(arguments([*args, "--ease", "0.5"]), One())
    recipes = lenses.describe()["recipes"]
    assert recipes == ["euclid-eased-0.5", "hst-eased-0.5"]
    assert lenses.recipes == [
        eased(get_recipe(name), 0.5) for name in ("euclid", "hst")
    ]
    plain = training_images(arguments(args), One())
    assert plain.describe()["recipes"] == ["euclid@1", "hst@1"]


@pytest.mark.parametrize(
    "option", [("--ease", "0.5"), ("--exposures", "2"), ("--matched", "1")]
)
def test_stored_images_have_no_ease(option, capsys):
    with pytest.raises(SystemExit):
        arguments(["d8", "--data", "there", "--out", "unused", *option])
    assert "are of simulated lenses: expected --fresh" in capsys.readouterr().err
