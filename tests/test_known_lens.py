"""The benchmark of a lens with a claimed subhalo: light away, places turned back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lensequiv
from lensequiv.simulation import Halos, get_recipe, simulate

SIDE, SCALE = 150, 0.05


@pytest.fixture
def known_lens(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import known_lens

    return known_lens


def test_the_galaxy_goes_and_the_arc_stays(known_lens):
    from gaussian_expansion import TREATMENTS, subtracted

    rng = np.random.default_rng(0)
    y, x = (np.indices((SIDE, SIDE)) - (SIDE - 1) / 2) * SCALE
    # De Vaucouleurs, axis ratio 0.8, effective radius 1.5 arcsec.
    radius = np.hypot(x - 0.02, (y + 0.01) / 0.8) + 0.02
    galaxy = 50 * np.exp(-7.67 * ((radius / 1.5) ** 0.25 - 1)) + 4.0
    arc = 40 * np.exp(-((np.hypot(x, y) - 1.4) ** 2) / (2 * 0.1**2)) * (x > 0.5)
    image = galaxy + arc + rng.normal(0, 3, x.shape)
    seen = (np.hypot(x, y) > 0.45) & (np.hypot(x, y) < 2.1)
    for treatment in TREATMENTS:
        left = subtracted(image, SCALE, treatment)
        wrong = (left - arc)[seen]
        assert abs(wrong.mean()) < 4, treatment.name  # of a galaxy of 60 there
        assert wrong.std() < 4.5, treatment.name  # of noise of 3
        bright = arc > 20  # the galaxy under it, of 60, is known to 10 %
        assert left[bright].mean() == pytest.approx(arc[bright].mean(), abs=6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* are? unlike the training images")
def test_the_place_is_found_in_every_variation(known_lens):
    place = (0.9, 0.8)
    halo = Halos(profile="point", number=1, mass=(1e10, 1e10), place=place)
    recipe = replace(get_recipe("modelJ"), substructure={"one": halo})
    image = simulate(recipe, 1, seed=77).images[0].double().numpy()
    found = known_lens.verdict(lensequiv.from_pretrained("c8-modelJ@3"), image)
    assert (found.x, found.y) == pytest.approx(place, abs=0.15)  # cells of 0.2
    assert found.steady > 0.75 and found.score > 0.5
    assert found.scores == pytest.approx([found.score] * 3, abs=0.3)


def test_p_counts_the_lens_itself(known_lens):
    smooth = np.array([0.1, 0.2, 0.3, 0.4])
    assert known_lens.p_value(0.25, smooth) == 3 / 5
    assert known_lens.p_value(0.9, smooth) == 1 / 5


def test_cut_outs_have_the_galaxy_in_the_middle(known_lens):
    from known_lens_images import centred, cut_out

    image = np.zeros((101, 90))
    image[52, 47] = 5.0
    cut = cut_out(image, centred(image), np.nan)
    assert cut.shape == (SIDE, SIDE) and cut[SIDE // 2, SIDE // 2] == 5.0
    assert np.isnan(cut[0, 0])
