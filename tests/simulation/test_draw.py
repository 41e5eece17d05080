"""What is drawn follows the distributions of the recipes: no rendering here.

The seeds are fixed, so a test that passes keeps passing. A draw that follows its
distribution has a chance of 1e-4 to fail.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lensequiv.simulation import (
    Subhalos,
    Vortex,
    _draw,
    model_1,
    model_f,
    model_j,
)
from lensequiv.simulation._cosmology import mass_to_arcsec2
from lensequiv.simulation._draw import BLOCK

pytestmark = pytest.mark.slow  # scipy.stats takes a second to import
BLOCKS = 50
N = BLOCKS * BLOCK
UNLIKELY = 1e-4
SIGMAS = 4.0  # the same chance, two-sided and rounded, for a normal deviate
FULL_TURN = (0.0, 2 * np.pi)
BOTH = pytest.mark.parametrize("recipe", [model_f, model_j], ids=lambda r: r.name)
CLASSES = pytest.mark.parametrize("label", range(3), ids=model_f.classes)


def with_classes(**components):
    return replace(model_f, substructure=model_f.substructure | components)


def draw(recipe, label, blocks=BLOCKS):
    rng = np.random.default_rng([2021, label])
    parts = [_draw.draw(recipe, label, rng) for _ in range(blocks)]
    return {name: _draw.stack([p[name] for p in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def drawn():
    return {
        (recipe.name, label): draw(recipe, label)
        for recipe in (model_f, model_j)
        for label in range(3)
    }


def assert_follows(values, cdf, *bounds):
    """Kolmogorov-Smirnov against a distribution or the uniform one over bounds."""
    values = np.ravel(values)
    if bounds:
        assert values.min() >= bounds[0] - 1e-9
        assert values.max() <= bounds[1] + 1e-9
    assert len(values) >= 3000  # else the test could not tell much
    assert stats.kstest(values, cdf).pvalue > UNLIKELY


def assert_uniform(values, low, high):
    assert_follows(values, stats.uniform(low, high - low).cdf, low, high)


def down(recipe):
    """-1 where row 0 is the top of the sky."""
    return -1 if recipe is model_j else 1


def direction(y, x):
    return np.arctan2(y, x) % (2 * np.pi)


@BOTH
@CLASSES
def test_shear_and_source_position(drawn, recipe, label):
    p = drawn[recipe.name, label]
    assert_uniform(p["shear"], 0, 0.3)
    # Drawn like radians, used as degrees; rows of J run the other way.
    assert_uniform(np.rad2deg(p["shear_angle"]) * down(recipe), *FULL_TURN)
    assert_uniform(np.hypot(p["source_x"], p["source_y"]), 0, 0.5)
    assert_uniform(direction(p["source_y"], p["source_x"]), *FULL_TURN)


@CLASSES
def test_model_f_has_one_redshift_and_round_sources(drawn, label):
    p = drawn["modelF", label]
    assert (p["z_lens"] == 0.5).all()
    assert (p["z_source"] == 1.0).all()
    assert (p["axis_ratio"] == 1.0).all()


@CLASSES
def test_model_j_has_floating_redshifts_and_shapes(drawn, label):
    p = drawn["modelJ", label]
    assert_uniform(p["z_lens"], 0.4, 0.6)
    assert_uniform(p["z_source"], 0.8, 1.2)
    assert_uniform(p["axis_ratio"], 0.4, 1.0)
    assert_uniform(-np.rad2deg(p["source_angle"]), *FULL_TURN)


@BOTH
@CLASSES
def test_draws_are_independent(drawn, recipe, label):
    p = drawn[recipe.name, label]
    names = ["shear", "shear_angle", "source_x", "source_y"]
    names += ["source_angle", "substructure_mass", "z_lens", "z_source", "axis_ratio"]
    columns = [p[name] for name in names if p[name].std() > 1e-9]
    columns.append(np.hypot(p["source_x"], p["source_y"]))
    ranks = stats.rankdata(columns, axis=1)
    for lag in (0, 1, BLOCK):  # in a lens, between neighbours, between blocks
        r = np.corrcoef(ranks[:, lag:], ranks[:, : N - lag])[: len(ranks), len(ranks) :]
        if lag == 0:
            np.fill_diagonal(r, 0)
        assert np.abs(r).max() < 4.5 / np.sqrt(N)  # 4.5: up to 100 pairs a test


@BOTH
@CLASSES
def test_halo_and_substructure_share_the_mass(drawn, recipe, label):
    p = drawn[recipe.name, label]
    whole = 1e12 * mass_to_arcsec2(p["z_lens"], p["z_source"], recipe)
    shared = p["theta_e"] ** 2 + p["mass_theta2"].sum(1)
    np.testing.assert_allclose(shared, whole, rtol=1e-12)
    np.testing.assert_allclose(p["substructure_mass"], p["mass"].sum(1), rtol=1e-12)
    ratio = p["mass_theta2"].sum(1) / whole
    np.testing.assert_allclose(ratio, p["substructure_mass"] / 1e12, atol=1e-12)


def test_substructure_heavier_than_the_lens_leaves_no_halo():
    p = draw(replace(model_f, total_mass=1e9), 1, blocks=1)
    heavy = p["substructure_mass"] > 1e9
    assert heavy.any()
    assert (p["theta_e"][heavy] == 0).all()
    assert (p["theta_e"][~heavy] > 0).all()


@BOTH
def test_no_substructure(drawn, recipe):
    p = drawn[recipe.name, 0]
    for name in ("mass", "mass_x", "mass_y", "mass_theta2"):
        assert p[name].shape == (N, 0)
    assert (p["substructure_mass"] == 0).all()


def power_law_cdf(low, high, power):
    """Of dN/dm ~ m^(power - 1)."""
    return lambda m: (m**power - low**power) / (high**power - low**power)


def power_law_mean(low, high, power):
    shape = power / (power + 1)
    return (
        shape * (high ** (power + 1) - low ** (power + 1)) / (high**power - low**power)
    )


@BOTH
def test_subhalo_masses_and_places(drawn, recipe):
    p = drawn[recipe.name, 1]
    used = p["mass"] > 0
    mass, x, y = (p[name][used] for name in ("mass", "mass_x", "mass_y"))
    # Slope -0.9, so the distribution function goes as m^0.1.
    assert_follows(mass, power_law_cdf(1e6, 1e10, 0.1), 1e6, 1e10 * (1 + 1e-9))
    assert_uniform(np.hypot(x, y), 0, 2)
    assert_uniform(direction(y, x), *FULL_TURN)
    rho = stats.spearmanr(mass, np.hypot(x, y)).statistic
    assert abs(rho) < SIGMAS / np.sqrt(len(mass))
    assert (p["mass_theta2"][~used] == 0).all()


@BOTH
def test_number_of_subhalos_is_poisson(drawn, recipe):
    number = (drawn[recipe.name, 1]["mass"] > 0).sum(1)
    assert abs(number.mean() - 25) < SIGMAS * np.sqrt(25 / N)
    # The variance of a sample variance of Poisson(k): (k + 2 k^2) / N.
    assert abs(number.var() - 25) < SIGMAS * np.sqrt((25 + 2 * 25**2) / N)
    values, counts = np.unique(np.clip(number, 15, 35), return_counts=True)
    assert len(values) == 21
    expected = stats.poisson(25).pmf(values)
    expected[0], expected[-1] = stats.poisson(25).cdf(15), stats.poisson(25).sf(34)
    assert stats.chisquare(counts, N * expected).pvalue > UNLIKELY


@BOTH
def test_subhalos_hold_3_8_percent(drawn, recipe):
    mean = 25 * power_law_mean(1e6, 1e10, 0.1)
    assert mean / 1e12 == pytest.approx(0.038, abs=0.0005)
    total = drawn[recipe.name, 1]["substructure_mass"]
    assert abs(total.mean() - mean) < SIGMAS * total.std() / np.sqrt(N)


@pytest.mark.parametrize("slope", [-1.9, -1.0, -0.5])
def test_other_subhalo_slopes(slope):
    recipe = with_classes(sphere=Subhalos(slope=slope, mass=(1e7, 1e9)))
    p = draw(recipe, 1, 4)
    mass = p["mass"][p["mass"] > 0]
    if slope == -1.0:
        cdf = stats.loguniform(1e7, 1e9).cdf
    else:
        cdf = power_law_cdf(1e7, 1e9, slope + 1)
    assert_follows(mass, cdf, 1e7 * (1 - 1e-9), 1e9 * (1 + 1e-9))


@BOTH
def test_vortex(drawn, recipe):
    p = drawn[recipe.name, 2]
    x, y, mass = p["mass_x"], p["mass_y"], p["mass"]
    assert mass.shape == (N, 100)
    np.testing.assert_array_equal(mass, np.repeat(mass[:, :1], 100, 1))
    low = 0.04 if recipe is model_j else 0.03
    assert_uniform(mass.sum(1) / 1e12, low, 0.055)
    for centre in (x.mean(1), y.mean(1)):
        assert_follows(centre, stats.norm(0, 0.5).cdf)
    along_x, along_y = x[:, -1] - x[:, 0], y[:, -1] - y[:, 0]
    length = np.hypot(along_x, along_y)
    assert_uniform(length, *((1, 4) if recipe is model_j else (0.5, 2)))
    assert_uniform(direction(along_y, along_x), *FULL_TURN)
    # Straight, and the points equally far apart.
    np.testing.assert_allclose(np.diff(x, axis=1), along_x[:, None] / 99 + 0 * x[:, 1:])
    np.testing.assert_allclose(np.diff(y, axis=1), along_y[:, None] / 99 + 0 * y[:, 1:])
    columns = [x.mean(1), y.mean(1), length, mass.sum(1)]
    r = stats.spearmanr(np.stack(columns), axis=1).statistic - np.eye(4)
    assert np.abs(r).max() < SIGMAS / np.sqrt(N)


def test_other_vortices():
    vortex = Vortex(points=7, sigma=0.0, length=(0.1, 10), log_length=True)
    p = draw(with_classes(vort=vortex), 2)
    x, y = p["mass_x"], p["mass_y"]
    assert x.shape == (N, 7)
    assert abs(x.mean(1)).max() < 1e-9
    assert abs(y.mean(1)).max() < 1e-9
    length = np.hypot(x[:, -1] - x[:, 0], y[:, -1] - y[:, 0])
    assert_uniform(np.log10(length), -1, 1)


def test_deeplensesim():
    """Model I's draws, as its authors' code makes them."""
    none, sphere, vortex = (draw(model_1, label) for label in range(3))
    for p in (none, sphere, vortex):
        # The halo keeps its mass whatever the substructure has.
        np.testing.assert_allclose(p["theta_e"], 1.2815, atol=1e-4)
        for name in ("source_x", "source_y"):
            assert_uniform(p[name], -0.35, 0.35)
        assert_uniform(np.log10(p["exposure"]), 3, 3.5)
        assert (p["shear"] == 0.05).all()
        assert (p["shear_angle"] == 0).all()
        np.testing.assert_allclose(p["axis_ratio"], 0.752, atol=1e-3)
        np.testing.assert_allclose(np.rad2deg(p["source_angle"]), 67.5)
    assert ((sphere["mass"] > 0).sum(1) == 25).all()
    assert_uniform(np.hypot(sphere["mass_x"], sphere["mass_y"]), 0.25, 2)
    np.testing.assert_allclose(vortex["substructure_mass"], 3e10)
    reach = np.hypot(vortex["mass_x"], vortex["mass_y"]).max(1)
    # A vortex of axions of mass m reaches 0.03e-22 eV / m from the centre.
    assert_uniform(np.log10(0.03e-22 / reach), -24, -22)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (lambda: Subhalos(number=-1), "number=-1"),
        (lambda: Subhalos(number=2.5, poisson=False), "number=2.5"),
        (lambda: Subhalos(mass=(0, 1)), "mass="),
        (lambda: Vortex(points=1), "points=1"),
        (lambda: Vortex(length=(0, 1)), "length="),
        (lambda: Vortex(fraction=(0.5, 1.5)), "fraction="),
    ],
)
def test_components_check_their_numbers(component, message):
    with pytest.raises(ValueError, match=message):
        component()


@pytest.mark.parametrize("distances", ["luminosity", "angular"])
def test_interpolated_distances(distances):
    recipe = replace(model_j, distances=distances)
    rng = np.random.default_rng(0)
    z_lens, z_source = rng.uniform(0.05, 2, 500), rng.uniform(2.1, 9, 500)
    exact = mass_to_arcsec2(z_lens, z_source, recipe)
    quick = mass_to_arcsec2(z_lens, z_source, recipe, interpolated=True)
    np.testing.assert_allclose(quick, exact, rtol=3e-7)
    assert not np.array_equal(quick, exact)  # or nothing was looked up
    z_source[0] = 12.0  # beyond the table
    np.testing.assert_array_equal(
        mass_to_arcsec2(z_lens, z_source, recipe, interpolated=True),
        mass_to_arcsec2(z_lens, z_source, recipe),
    )
